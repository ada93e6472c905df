"""Autobahn's fuzzing client against a name that no resolver knows (CPython 2.7).

    SSL_CERT_FILE=ROOT python fuzz.py SPEC

As `wstest -m fuzzingclient -s SPEC`, but every name leads to 127.0.0.1.
"""

import socket
import sys

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest: resolve("127.0.0.1", *rest)

# After that: Twisted keeps its own reference.
from autobahntestsuite import wstest

sys.argv = ["wstest", "--mode", "fuzzingclient", "--spec", sys.argv[1]]
sys.exit(wstest.run())
