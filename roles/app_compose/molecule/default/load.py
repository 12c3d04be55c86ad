"""Ask a gateway without pause until a file appears; then say, as JSON, which answers were no service's.

usage: load.py URL STOP-FILE
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

url, stop = sys.argv[1], Path(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
asked, failures = 0, []
while not stop.exists():
    asked += 1
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:  # noqa: S310
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        status = str(error)
    if status != 401:  # what orders itself says to who brings no token
        failures.append(f"{time.strftime('%H:%M:%S')} {status}")
    time.sleep(0.02)
print(json.dumps({"asked": asked, "failures": failures}))
