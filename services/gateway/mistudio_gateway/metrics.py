"""The gateway's own figures, beside those of every call."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

watchers = Gauge("mistudio_gateway_watchers", "Watch streams that are open", ["method"])
replays = Counter("mistudio_gateway_replays_total", "Times a watch read older events from the log")
tail_lag = Gauge("mistudio_gateway_tail_lag_events", "Events in the log that the gateway has not taken yet")
tail_restarts = Counter("mistudio_gateway_tail_restarts_total", "Times the standing consumer had to be made anew")
