"""OpenVINO GenAI, which reads GGUF itself; see compare_peers.py for what is asked and answered."""

import numpy
import openvino
import openvino_genai

import common_peer

VOCAB = 1000  # ids that every model has; the vocabulary itself cannot always be read (bytes that are no UTF-8)
VERSION = f"openvino-genai {openvino_genai.__version__}"


def measure(ask):
    pipeline = openvino_genai.LLMPipeline(ask.model, "CPU", INFERENCE_NUM_THREADS=ask.threads)
    def times(prompt, answer):
        """Seconds to the first token, seconds of the others."""
        ids = numpy.array([common_peer.token_ids(VOCAB, prompt)], dtype=numpy.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        config = openvino_genai.GenerationConfig(max_new_tokens=answer, ignore_eos=True, do_sample=False)
        metrics = pipeline.generate(inputs, config).perf_metrics
        return metrics.get_ttft().mean / 1e3, (answer - 1) * metrics.get_tpot().mean / 1e3

    times(32, 4)
    result = {"pp": None, "tg": None}
    if ask.pp and not ask.depth:
        result["pp"] = ask.pp / times(ask.pp, 1)[0]
    if ask.tg:
        result["tg"] = ask.tg / times(max(1, ask.depth), ask.tg + 1)[1]
    return result


if __name__ == "__main__":
    common_peer.run(measure, VERSION)
