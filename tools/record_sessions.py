"""Hold every shipped session with the demo model and keep its trace: data/sessions/traces/*.jsonl."""

from __future__ import annotations

from tqdm import tqdm
from traced_sessions import record_session

from visioncache.study import save_trace
from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.sessions import load_session, session_names
from visioncache.study.data import data_path

if __name__ == "__main__":
    loaded = load_model()
    for name in tqdm(session_names()):
        trace = record_session(*loaded, load_session(name))
        trace["time"] -= trace["time"].min()
        save_trace(trace, data_path("sessions", "traces", f"{name}.jsonl"))
