"""What the peers' programs share: `program MODEL --pp N --tg N --depth N --threads N` prints one JSON
object: tokens per second of prefill (pp) and decode (tg), null where the peer cannot measure it, and
its version."""

import argparse
import json


def token_ids(vocab, count):
    """Different tokens, the same for everybody."""
    return [(i * 7919 + 13) % (vocab - 10) + 5 for i in range(count)]


def run(measure, version):
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--pp", type=int, default=512)
    parser.add_argument("--tg", type=int, default=64)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    print("\n" + json.dumps(measure(parser.parse_args()) | {"version": version}))
