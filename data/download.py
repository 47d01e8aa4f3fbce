"""Download tiny shakespeare (1.1 MB), as published by Andrej Karpathy with char-rnn, and verify its SHA-256."""

import hashlib
import sys
import urllib.request
from pathlib import Path

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TARGET = Path(__file__).parent / "tinyshakespeare.txt"

try:
    with urllib.request.urlopen(URL, timeout=30) as response:
        data = response.read()
except OSError as error:
    sys.exit(f"{URL} could not be downloaded ({error}); fetch it on another machine and save it as {TARGET}")
if hashlib.sha256(data).hexdigest() != SHA256:
    sys.exit(f"{URL} has changed: its SHA-256 is not {SHA256}; nothing was written")
TARGET.write_bytes(data)
print(f"{TARGET}: {len(data):,} bytes")
