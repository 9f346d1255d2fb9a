"""Raw hop: one small script per item, in pipelines, with redis-py and hiredis."""

import time
from typing import Final

import redis.asyncio as redis

_SCRIPT: Final = """
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'at_ms', ARGV[2], 'attempt', 1)
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
return redis.call('PEXPIRE', KEYS[1], 60000)
"""
_COUNTS: Final = "bench:raw:counts"


async def pipeline_s(redis_url: str, *, items: int, per_pipeline: int = 500) -> float:
    """Seconds for one script call per item, so many per pipeline."""
    client = redis.from_url(redis_url)
    try:
        sha = await client.script_load(_SCRIPT)
        began_s = time.perf_counter()
        for start in range(0, items, per_pipeline):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + per_pipeline, items)):
                pipeline.evalsha(sha, 2, f"bench:raw:{number}", _COUNTS, "sent", "1760000000000")
            await pipeline.execute()
        took_s = time.perf_counter() - began_s
        await client.delete(_COUNTS)
    finally:
        await client.aclose()
    return took_s
