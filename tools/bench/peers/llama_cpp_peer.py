"""llama.cpp by llama-cpp-python; see compare_peers.py for what is asked and answered."""

import time

import llama_cpp

import common_peer

VERSION = f"llama-cpp-python {llama_cpp.__version__}"


def measure(ask):
    model = llama_cpp.Llama(ask.model, n_ctx=ask.depth + ask.pp + ask.tg + 64, n_batch=512, n_ubatch=512,
                            n_threads=ask.threads, n_threads_batch=ask.threads, verbose=False)
    tokens = common_peer.token_ids(model.n_vocab(), ask.depth + max(ask.pp, ask.tg) + 1)
    model.eval(tokens[:32])

    def seconds_of(step):
        model.reset()
        if ask.depth:
            model.eval(tokens[:ask.depth])
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    def decode():
        for i in range(ask.tg):
            model.eval(tokens[ask.depth + i:ask.depth + i + 1])

    return {"pp": ask.pp / seconds_of(lambda: model.eval(tokens[ask.depth:ask.depth + ask.pp])) if ask.pp else None,
            "tg": ask.tg / seconds_of(decode) if ask.tg else None}


if __name__ == "__main__":
    common_peer.run(measure, VERSION)
