"""Make the bucket of TESSERA_STORE on a development S3 server; nothing where it is there already."""

import os
import time
from urllib.parse import urlsplit

import minio

bucket = urlsplit(os.environ["TESSERA_STORE"]).netloc
client = minio.Minio(
    endpoint=os.environ["TESSERA_S3_ENDPOINT"],
    access_key=os.environ["TESSERA_S3_ACCESS_KEY"],
    secret_key=os.environ["TESSERA_S3_SECRET_KEY"],
    secure=os.environ.get("TESSERA_S3_SECURE", "true") == "true",
    region=os.environ.get("TESSERA_S3_REGION", "us-east-1"),
)
for attempt in range(30):
    try:
        # A server may answer HEAD of a missing bucket with a body that the client does not take; the list is plain.
        if bucket not in {each.name for each in client.list_buckets()}:
            client.make_bucket(bucket_name=bucket)
        break
    except Exception:
        if attempt == 29:
            raise
        time.sleep(1.0)
