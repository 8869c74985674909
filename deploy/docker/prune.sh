#!/bin/sh
# prune.sh FOLDER: remove what no process of ours loads, give every source one date, and compile it to byte code. It may
# be called again when more was installed: it then works on what is new.
set -eu
cd "$1"
# Every source has this date afterwards: numba takes a compiled kernel for stale when its source has another date, and
# image layers keep whole seconds.
date=1767225600
# Stubs of scikit-image stay: it reads from them what to import.
find . -type f \( \( -name '*.pyi' ! -path '*/skimage/*' \) -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.a' \) -delete
for package in lib/python3*/site-packages; do
    [ -d "$package" ] || continue
    ( cd "$package"
      rm -rf numba/tests numba/cuda/tests torch/include torch/test pyarrow/include pyarrow/src Crypto/SelfTest \
          numpy/distutils yaml/_yaml*.so numpy/_core/_simd*.so numpy/_core/*_tests.*.so \
          google/api google/cloud google/gapic google/geo google/logging google/longrunning google/type
      for library in numpy scipy sklearn skimage pyarrow networkx sympy umap pynndescent matplotlib joblib; do
          if [ -d "$library" ]; then find "$library" -depth -type d -name tests -exec rm -rf {} +; fi
      done
      # Parts of Arrow that nothing else needs: Flight, ORC, Substrait, stores of other clouds, its own S3 client; links
      # that a wheel holds as copies.
      rm -f pyarrow/libarrow_flight.so* pyarrow/libarrow_python_flight.so* pyarrow/_flight*.so pyarrow/libarrow_s3.so* \
          pyarrow/_s3fs*.so pyarrow/_gcsfs*.so pyarrow/_azurefs*.so pyarrow/_hdfs*.so pyarrow/_orc*.so \
          pyarrow/_dataset_orc*.so pyarrow/_substrait*.so pyarrow/_pyarrow_cpp_tests*.so pyarrow/libarrow_python.so \
          pyarrow/libarrow_python.so.*.*.*
      for library in pyarrow/libarrow_substrait.so.*; do
          if [ -e "$library" ]; then blank.sh "$library" pyarrow/lib.*.so; fi
      done
      # Of Pillow, everything but what reads and writes PNG and JPEG: the only formats that are opened. It is linked to
      # a library that takes pictures of screens.
      rm -f PIL/_avif*.so PIL/_webp*.so PIL/_imagingft*.so PIL/_imagingcms*.so PIL/_imagingtk*.so
      for library in avif harfbuzz freetype webpmux webpdemux lcms2 brotlicommon brotlidec png16; do
          rm -f pillow.libs/lib"$library"-*
      done
      for library in pillow.libs/libxcb-*; do
          if [ -e "$library" ]; then blank.sh "$library" PIL/_imaging.*.so; rm -f pillow.libs/libXau-*; fi
      done
      # OpenCV is linked to video decoders, an AVIF decoder and a BLAS, and no function that is called uses them. The
      # empty BLAS gets another name of the same length: threadpoolctl looks into every library that is called openblas.
      for library in opencv_contrib_python_headless.libs/lib*; do
          case $library in
              *libopenblas*)
                  blank.sh "$library" cv2/cv2*.so "$(basename "$library" | sed 's/libopenblas/lib-no-blas/')"
                  LC_ALL=C sed -i "s/libopenblas\(p-r0-[0-9a-f]*\.[0-9.]*so\)/lib-no-blas\1/g" cv2/cv2*.so ;;
              *libav* | *libswscale*) blank.sh "$library" cv2/cv2*.so ;;
              *lib-no-blas* | *libpng* | *'*') ;;
              *) rm -f "$library" ;;
          esac
      done
      # torch's libraries, and those of CUDA, have no symbols to speak of.
      find . \( -name '*.so' -o -name '*.so.*' \) -type f -newermt "@$date" \
          ! -path './torch/*' ! -path './nvidia/*' ! -path './triton/*' -print0 |
          xargs -0 -r python3 /usr/local/bin/strip.py "$date" )
done
if [ -x bin/python ]; then bin/python /usr/local/bin/used.py; fi
new=$(mktemp)
# torch's own tests are written for other versions of Python, too.
find . -name '*.py' -newermt "@$date" ! -path '*/torch/testing/_internal/*' >"$new"
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -i "$new" >/dev/null || true
rm "$new"
find . -name '*.py' -newermt "@$date" -exec touch -d "@$date" {} +
# What was removed must not be missed.
if [ -x bin/python ]; then bin/python -c 'import pyarrow.compute, pyarrow.dataset, pyarrow.parquet, minio'; fi
if [ -x bin/python ]; then bin/python /usr/local/bin/used.py check; fi
