#!/bin/sh
# trim.sh: remove from the base image (Debian with Python) what a running service does not need: package managers, tools
# to build with, perl, shells but sh, character sets, Python's own tests. Debian's list of packages stays right, so
# scanners see what is there.
set -eu
for python in /usr/lib/python3* /usr/local/lib/python3*; do
    [ -d "$python" ] || continue
    ( cd "$python"
      rm -rf ensurepip idlelib tkinter turtledemo turtle.py lib2to3 pydoc_data test distutils config-* \
          __pycache__/turtle.* site-packages/pip* site-packages/setuptools* site-packages/wheel* lib-dynload/_tkinter* lib-dynload/_test* )
done
rm -rf /usr/local/include /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/*-config /usr/share/python-wheels \
    /usr/lib/x86_64-linux-gnu/gconv /usr/lib/aarch64-linux-gnu/gconv /usr/share/doc /usr/share/man /usr/share/locale \
    /usr/share/info /usr/share/lintian /usr/share/bash-completion /usr/share/perl* /usr/lib/systemd /usr/lib/udev \
    /var/cache/* /var/lib/apt /var/log/* /var/backups/* /usr/bin/localedef /usr/bin/iconv \
    /usr/share/zoneinfo/right /usr/share/zoneinfo/posix /usr/sbin/zic /usr/share/gdb /usr/share/gcc /usr/share/common-licenses

remove() {
    for package in "$@"; do
        # Their scripts would ask for perl and for users' databases, which go as well.
        find /var/lib/dpkg/info -name "$package.*" -o -name "$package:*" | grep -E 'rm$|config$|templates$' | xargs -r rm -f
        dpkg --purge --force-all "$package" >/dev/null 2>&1 || true
    done
}
remove apt debian-archive-keyring gpgv libapt-pkg6.0 libapt-pkg7.0 adduser debconf openssl netbase \
    e2fsprogs logsave libext2fs2 libss2 libcom-err2 util-linux util-linux-extra bsdutils mount libmount1 libsmartcols1 \
    passwd login libpam-modules libpam-modules-bin libpam-runtime libpam0g libsemanage2 libsemanage-common libsepol2 \
    libsystemd0 libudev1 sysvinit-utils init-system-helpers hostname diffutils mawk ncurses-bin usr-is-merged \
    libgnutls30 libp11-kit0 libidn2-0 libunistring2 libnettle8 libhogweed6 libtasn1-6 libgcrypt20 libgpg-error0 \
    libdb5.3 libkrb5-3 libgssapi-krb5-2 libk5crypto3 libkrb5support0 libkeyutils1 libnsl2 libtirpc3 libtirpc-common \
    libreadline8 readline-common libblkid1 libext2fs2 libseccomp2 libaudit1 libaudit-common libcap-ng0 libxxhash0 libgmp10 python3-pip-whl python3-setuptools-whl \
    python3.11-venv python3-venv python3-distutils python3-lib2to3 perl-base bash
# What stays is a shell and the tools that a person in a container looks for first.
for tool in /usr/bin/*; do
    case ${tool##*/} in
        sh | dash | python* | ls | cat | cp | mv | rm | mkdir | echo | env | id | sleep | head | tail | date | df | du | \
            test | touch | true | false | chmod | chown | ln | stat | wc | sort | tar | gzip | find | xargs | grep | sed | \
            dpkg | dpkg-* | tr | uname | sha256sum | getent | ldd) ;;
        *) rm -f "$tool" ;;
    esac
done
echo 'tessera:x:10001:10001::/cache:/usr/sbin/nologin' >>/etc/passwd
echo 'tessera:x:10001:' >>/etc/group
mkdir -m 0770 /cache
chown 10001:10001 /cache
rm -f /etc/passwd- /etc/shadow- /etc/group- /usr/local/bin/trim.sh
cp /var/lib/dpkg/status /tmp/status
rm -rf /var/lib/dpkg/info /usr/lib/*/libzstd.so.* /usr/bin/dpkg* /usr/sbin/dpkg* /usr/bin/tar
mv /tmp/status /var/lib/dpkg/status
# What was removed must not be missed.
python3 -c 'import asyncio, ctypes, hashlib, http.client, ssl, sqlite3, subprocess, zoneinfo; ssl.create_default_context()'
