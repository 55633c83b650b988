#!/usr/bin/env python3
"""Answers at an address as NCCL's RAS does when a gang waits for one of its ranks.

Usage: fake_ras.py HOST:PORT LATE_RANK LOG. Each question is appended to LOG. Ends after two minutes, or when it
is told to.
"""
import socket
import sys
import time

address, late, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
host, port = address.rsplit(":", 1)
answer = f"""OK
Communicators... (0.00s)
=============

  Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
      #  in group  per comm  per node  per comm  in group
      0         1         1         2         2         2   RUNNING  MISMATCH

Warnings
========

  #0-0 (27a079b828ff1a75) MISMATCH
    Communicator ranks have different AllReduce operation counts
    Rank {1 - late} has launched up to operation 30 -- GPU 0 managed by process 1 on node 127.0.0.1
    Rank {late} has launched up to operation 29 -- GPU 1 managed by process 2 on node 127.0.0.1
"""

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, int(port)))
server.listen()
server.settimeout(1)
until = time.monotonic() + 120
while time.monotonic() < until:
    try:
        client, _ = server.accept()
    except socket.timeout:
        continue
    with client:
        client.settimeout(5)
        question = b""
        while b"STATUS\n" not in question:
            more = client.recv(4096)
            if not more:
                break
            question += more
        with open(log, "ab") as file:
            file.write(question)
        client.sendall(answer.encode())
