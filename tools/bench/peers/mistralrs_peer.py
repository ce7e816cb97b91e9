"""mistral.rs; see compare_peers.py for what is asked and answered. Its threads are those of rayon."""

import importlib.metadata
import os
import pathlib
import sys

if "--threads" in sys.argv:  # before the pool of threads is made
    os.environ["RAYON_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]

import mistralrs

import common_peer

VERSION = "mistralrs " + importlib.metadata.version("mistralrs")


def measure(ask):
    path = pathlib.Path(ask.model)
    runner = mistralrs.Runner(which=mistralrs.Which.GGUF(
        tok_model_id=str(path.parent), quantized_model_id=str(path.parent), quantized_filename=path.name))

    def usage(prompt, answer):
        request = mistralrs.CompletionRequest(prompt=" a" * prompt, max_tokens=answer, temperature=0.0,
                                              model="default")
        return runner.send_completion_request(request).usage

    usage(32, 4)
    result = {"pp": None, "tg": None}
    if ask.pp and not ask.depth:
        result["pp"] = usage(ask.pp, 1).avg_prompt_tok_per_sec
    if ask.tg:
        result["tg"] = usage(max(1, ask.depth), ask.tg).avg_compl_tok_per_sec
    return result


if __name__ == "__main__":
    common_peer.run(measure, VERSION)
