"""A long and bad cable: passes frames between two network cards, late, and loses some of them.

slow-wire.py CARD CARD SECONDS SHARE: each frame takes so long, and this share of them gets lost. The
kernel's netem does the same where it is built in. SIGTERM ends it; then it says how many it has lost.
slow-wire.py --complete CARD: a card sends complete frames from now on, with checksums and no longer than
the MTU.
"""
import ctypes
import fcntl
import heapq
import random
import selectors
import signal
import socket
import struct
import sys
import time

SIOCETHTOOL, ETHTOOL_STXCSUM, ETH_P_ALL = 0x8946, 0x17, 3


def fill_checksums(card: str) -> None:
    off = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", card.encode(), ctypes.addressof(off)) + bytes(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def open_card(card: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    opened.bind((card, 0))
    opened.setblocking(False)
    return opened


def end(*_: object) -> None:
    print("lost", lost, flush=True)
    sys.exit()


if sys.argv[1] == "--complete":
    fill_checksums(sys.argv[2])
    sys.exit()

first, second = map(open_card, sys.argv[1:3])
delay, share = map(float, sys.argv[3:])
random.seed(1)
selector = selectors.DefaultSelector()
for source, target in ((first, second), (second, first)):
    selector.register(source, selectors.EVENT_READ, target)
# (due, number, frame, target); the number keeps frames of one moment in order.
waiting: list[tuple[float, int, bytes, socket.socket]] = []
number = lost = 0
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    for key, _ in selector.select(pause):
        try:
            while True:
                frame, (_, _, kind, *_) = key.fileobj.recvfrom(65535)
                # What this process has sent itself comes back.
                if kind == socket.PACKET_OUTGOING:
                    continue
                if random.random() < share:
                    lost += 1
                else:
                    number += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, number, frame, key.data))
        except BlockingIOError:
            pass
    while waiting and waiting[0][0] <= time.monotonic():
        _, _, frame, target = heapq.heappop(waiting)
        try:
            target.send(frame)
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
