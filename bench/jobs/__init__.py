"""Job engines side by side: enqueueing, throughput, latency, and how soon a killed worker's job runs again."""
