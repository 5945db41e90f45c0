"""llama-server as the xllamacpp package has it, with the arguments that `servers.py` gives.

`python -m benchmarks.llama_server --model FILE --port N --parallel N --ctx-size N --threads N`

Room: benchmarks. For machines where building llama.cpp's own program takes too long; what it was
built for is in its system information, printed at the start.
"""

from __future__ import annotations

import argparse
import signal
import threading

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--kv-unified", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--no-ui", action="store_true", help="accepted: there is none")
    parser.add_argument("--offline", action="store_true", help="accepted: nothing is fetched")
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.ctx_size
    params.kv_unified = options.kv_unified
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    print(xllamacpp.get_system_info(), flush=True)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()


if __name__ == "__main__":
    main()
