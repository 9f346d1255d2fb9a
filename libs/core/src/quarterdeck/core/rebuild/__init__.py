"""Losing all of Redis only delays: its state is rebuilt from the log of events, and nobody works with it before.

    log.py        the events, in QD_STATE and then QD_FEED
    fold.py       what they mean, as pure functions
    rebuilder.py  one rebuild, under leases
    keeper.py     who notices that one is needed: a task of every dispatcher

Why nothing that was answered or acked can be missing afterwards:

- A 202 and an ack come after the PubAck of the events (core/outbox.py), so all that anybody relies on is in the log,
  except for what is between script and PubAck in some process at this moment. A rebuild waits `settle_s` before it
  reads the end of the log; after it, for `late_s`, what still arrives from before is added, silently, where it is new.
- What was stored but never told (its writer died, its outbox entry was lost with the state) was not acked either: the
  order or report is delivered again and applied to the rebuilt state.
- Such a transition happens twice, then, with one version. JetStream would drop the second event as a duplicate of the
  first, even where the second says more (a report that came later goes along with it). So a rebuild lifts the floor of
  versions: the first event of afterwards has a version, and with it an id, above all of before. Readers keep the
  highest version, so one of before that arrives late moves nobody backwards.
- Children of a batch that no event mentions are pending. Their dispatch message may be queued or may be long acked, so
  they are created as pending with a look soon; whoever comes first sends them, and the other finds them sent. A batch
  that was being stopped is stopped again.
- Rebuilding is idempotent, and a lease lives in Redis beside what it protects: a rebuild that crashed is begun anew,
  one that slept is refused, one whose work was flushed under it begins again.
- A Redis that was restarted or failed over holds a prefix of its history. Each shard notes how far the log is known to
  be in it (its horizon) *in the same history*, so only events after that need to be applied again.

Output tails are not rebuilt: they come from the next progress report, and the output itself is in QD_FEED.
"""

from quarterdeck.core.rebuild.keeper import StateKeeper
from quarterdeck.core.rebuild.rebuilder import Rebuilder, RebuildSettings, Rebuilt

__all__ = ["RebuildSettings", "Rebuilder", "Rebuilt", "StateKeeper"]
