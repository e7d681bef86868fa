"""Hold every shipped session with the demo model and keep its trace: data/sessions/traces/*.jsonl."""

from __future__ import annotations

from tqdm import tqdm

from visioncache.study import save_trace
from visioncache.study.data import data_path
from visioncache.study.demo import load_model
from visioncache.study.sessions import load_session, session_names
from visioncache.study.traced_sessions import record_session

if __name__ == "__main__":
    loaded = load_model()
    for name in tqdm(session_names()):
        trace = record_session(*loaded, load_session(name))
        trace["time"] -= trace["time"].min()
        save_trace(trace, data_path("sessions", "traces", f"{name}.jsonl"))
