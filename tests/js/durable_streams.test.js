// The protocol's own suite against the server in HEADGATE_STREAMS (http://host:port/-/streams).
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.HEADGATE_STREAMS,
  longPollTimeoutMs: Number(process.env.HEADGATE_POLL_MS ?? 20_000),
});
