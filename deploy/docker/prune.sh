#!/bin/sh
# prune.sh FOLDER: remove what no process of ours loads, give every source one date, and compile it to byte code.
set -eu
cd "$1"
# Stubs of scikit-image stay: it reads from them what to import.
find . -type f \( \( -name '*.pyi' ! -path '*/skimage/*' \) -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pxi' -o -name '*.a' \) -delete
for package in lib/python3*/site-packages; do
    [ -d "$package" ] || continue
    ( cd "$package"
      rm -rf numba/tests numba/cuda/tests torch/include torch/test pyarrow/include pyarrow/src Crypto/SelfTest
      # Example pictures; the package that names them stays.
      if [ -d skimage/data ]; then find skimage/data -type f ! -name '*.py' ! -name '*.pyi' -delete; fi
      for library in numpy scipy sklearn skimage pyarrow networkx sympy umap pynndescent matplotlib joblib; do
          if [ -d "$library" ]; then find "$library" -depth -type d -name tests -exec rm -rf {} +; fi
      done
      # Parts of Arrow that nothing else needs: Flight and its own S3 client; links that a wheel holds as copies.
      rm -f pyarrow/libarrow_flight.so* pyarrow/libarrow_python_flight.so* pyarrow/_flight*.so pyarrow/libarrow_s3.so* \
          pyarrow/_s3fs*.so pyarrow/_pyarrow_cpp_tests*.so pyarrow/libarrow_python.so pyarrow/libarrow_python.so.*.*.* )
done
# Numba takes a compiled kernel for stale when its source has another date, and image layers keep whole seconds.
find . -name '*.py' -exec touch -d @1767225600 {} +
# torch's own tests are written for other versions of Python, too.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -x 'torch/testing/_internal' .
# What was removed must not be missed.
if [ -x bin/python ]; then bin/python -c 'import pyarrow.compute, pyarrow.parquet, minio'; fi
if [ -d lib/python3*/site-packages/skimage ]; then bin/python -c 'from skimage.segmentation import slic'; fi
