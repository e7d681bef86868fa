"""A small file in the shape that each format of other people documents."""

from __future__ import annotations

import json
import struct


def lines(*objects: object) -> bytes:
    """Write lines of JSON."""
    return "".join(json.dumps(one) + "\n" for one in objects).encode()


def record(time: int, name: int, size: int, following: int) -> bytes:
    """A record as libCacheSim documents it: uint32 time, uint64 object, uint32 size, int64 next look-up."""
    return struct.pack("<IQIq", time, name, size, following)


MOONCAKE = lines(
    {"timestamp": 27482, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2353]},
    {"timestamp": 30535, "input_length": 1030, "output_length": 26, "hash_ids": [46, 47, 2366]},
)
BAILIAN = lines(
    {"chat_id": 55, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 36, "output_length": 132,
     "type": "image", "turn": 1, "hash_ids": [1089, 1090, 1091]},
    {"chat_id": 159, "parent_chat_id": 55, "timestamp": 70.5, "input_length": 52, "output_length": 3,
     "type": "text", "turn": 2, "hash_ids": [1089, 1090, 1091, 6326]},
)  # fmt: skip
VLLM = lines(
    {"request_id": "chatcmpl-1", "arrival_time": 10.0, "prompt_token_ids": [1, 2], "mm_features": [
        {"modality": "image", "identifier": "a" * 64, "mm_hash": "a" * 64,
         "mm_position": {"offset": 2, "length": 336}, "data": None}]},
    {"request_id": "chatcmpl-2", "arrival_time": 12.5, "mm_features": [
        {"modality": "image", "identifier": "a" * 64, "mm_position": {"offset": 2, "length": 336}},
        {"modality": "image", "identifier": "b" * 64, "mm_position": {"offset": 400, "length": 64}}]},
    {"request_id": "chatcmpl-3", "arrival_time": 13.0, "mm_features": None},
    {"request_id": "older", "arrival_time": 14.0, "mm_hashes": ["b" * 64],
     "mm_placeholders": [{"offset": 0, "length": 64}]},
)  # fmt: skip
AZURE = b"""TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 00:00:01.1234567+00:00,2,1200,90
2024-10-15 00:00:03.6234567+00:00,0,300,12
2024-10-15 00:00:04.1234567+00:00,1,900,5
"""
SERVEGEN = b"""request_id,timestamp,text_tokens,output_tokens,image_tokens,audio_tokens,video_tokens
0,0.5,10,20,"[256, 1024]",[],[]
1,1.2,15,25,[],[],[]
2,1.9,15,25,[729],[],[]
"""
CSV = b"""time,session,key,size,seconds
0,ann,cat,100,0.25
1,ann,dog,200,0.5
2,bob,cat,100,0.25
"""
LCS = b"""0,5,10
1,6,20
2,5,10
3,7,5
"""
ORACLE = record(0, 5, 10, 3) + record(1, 6, 20, -1) + record(2, 5, 10, -1) + record(3, 7, 5, -1)

MADE: dict[str, tuple[bytes, int, float]] = {
    "mooncake": (MOONCAKE, 6, 2 / 6),
    "qwen-bailian": (BAILIAN, 7, 3 / 7),
    "vllm": (VLLM, 4, 2 / 4),
    "azure-lmm": (AZURE, 3, 0.0),
    "servegen": (SERVEGEN, 3, 0.0),
    "csv": (CSV, 3, 1 / 3),
    "libcachesim-csv": (LCS, 4, 1 / 4),
    "oracle-general": (ORACLE, 4, 1 / 4),
}
"""A small file in the shape that each format documents, its look-ups, and the hit ratio of a large cache."""
