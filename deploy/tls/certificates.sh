#!/bin/sh
# Makes an authority and certificates that it signs, for a deployment without cert-manager. Needs openssl 1.1.1 or later.
#
#   deploy/tls/certificates.sh FOLDER NAME[=SAN,SAN…] …
#
# FOLDER gets ca.crt and ca.key (kept if they are there), and NAME.crt and NAME.key for each NAME. A certificate is valid
# for DNS:NAME, DNS:localhost and IP:127.0.0.1, or for the names given: coordinator=DNS:runs.example.org,IP:10.0.0.7.
# DAYS (default 365) is how long, CA_DAYS (3650) how long the authority is. Every certificate may serve and call.
# Keep ca.key away from the machines that run services: whoever has it can be anybody.
set -eu
folder=${1:?FOLDER is missing: certificates.sh FOLDER NAME[=SAN,SAN…] …}
shift
mkdir -p "$folder"
umask 077

if [ ! -f "$folder/ca.key" ]; then
    openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$folder/ca.key" \
        -out "$folder/ca.crt" -days "${CA_DAYS:-3650}" -subj "/CN=tessera-ca" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
fi

for each in "$@"; do
    name=${each%%=*}
    names=${each#*=}
    [ "$names" != "$each" ] || names="DNS:$name,DNS:localhost,IP:127.0.0.1"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$folder/$name.key" \
        -out "$folder/$name.csr" -subj "/CN=$name" 2>/dev/null
    cat > "$folder/$name.ext" <<EXTENSIONS
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectAltName=$names
EXTENSIONS
    openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" \
        -set_serial "0x$(openssl rand -hex 16)" -days "${DAYS:-365}" -sha256 -extfile "$folder/$name.ext" \
        -out "$folder/$name.crt" 2>/dev/null
    rm "$folder/$name.csr" "$folder/$name.ext"
done
