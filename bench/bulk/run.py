"""Bulk writing and reading on PostgreSQL: Headgate beside the ways that people use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import psycopg

from bench.bulk.data import CREATE, FILL, MERGES
from bench.bulk.neighbour import RATE, Neighbour, percentile
from bench.peers import ROOT, installed, named
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds, Row
from tests.support.postgres import Postgres

ROWS, MANY, ROUNDS = 200_000, 1_000_000, 5
OPERATIONS = ("insert", "update", "upsert")
WRITES = {
    "row_by_row": "psycopg, row by row, autocommit",
    "executemany": "psycopg executemany, one transaction",
    "execute_values": "psycopg2 execute_values, 1,000 rows each",
    "core": "SQLAlchemy Core, one executemany",
    "orm": "SQLAlchemy ORM bulk (update: only the keys that are there)",
    "asyncpg": "asyncpg COPY + merge, one transaction",
    "adbc": "ADBC ingest + merge, one transaction",
    "server": "the server alone, from a staged table",
    "polite": "Headgate",
    "fast": "Headgate, chunks of 10,000 without politeness",
}
READS = {
    "fetchall": "psycopg fetchall",
    "named": "psycopg named cursor, 2,000",
    "stream": "psycopg stream, 1,000",
    "asyncpg": "asyncpg cursor, 1,000",
    "rows": "Headgate rows",
    "pages": "Headgate rows, in pages by key",
    "copy": "COPY to a CSV file",
    "csv": "Headgate CSV export",
    "adbc": "ADBC to an Arrow file",
    "arrow": "Headgate Arrow export",
}
BESIDE = ("none", "polite", "fast", "asyncpg")
OURS_READ = ("rows", "pages", "csv", "arrow")


def play(python: str, *arguments: str) -> dict[str, Any]:
    """Run one turn in a process of its own; returns what it printed."""
    command = [python, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


class Bench:
    """One server and its tables."""

    def __init__(self, server: Postgres, rows: int) -> None:
        self.url = server.url()
        self.rows = rows
        self.peers = named("bulk").program("python")

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def fresh(self, operation: str) -> None:
        """The table as each turn finds it: empty for an insert, else half of the keys are there."""
        fill = [] if operation == "insert" else [FILL.format(half=self.rows // 2)]
        create = CREATE.format(name="items")
        self.execute("DROP TABLE IF EXISTS items, stage", create, *fill, "VACUUM ANALYZE items", "CHECKPOINT")

    def write(self, way: str, operation: str) -> dict[str, float]:
        self.fresh(operation)
        # Row by row takes minutes for all; its rate does not depend on how many there are.
        count = self.rows // 20 if way == "row_by_row" else self.rows
        if way == "server":
            return self.server(operation)
        if way in ("polite", "fast"):
            turn = play(sys.executable, "bench.bulk.ours", "write", operation, self.url, str(count), way)
        else:
            turn = play(self.peers, "bench.bulk.peer_ways.writes", way, operation, self.url, str(count))
        return {"rate": count / turn["seconds"], "growth": turn["growth"], "cpu": turn["cpu"] / count}

    def server(self, operation: str) -> dict[str, float]:
        """The merge alone, from a table that holds the rows already."""
        stage = f"CREATE UNLOGGED TABLE stage AS SELECT * FROM ({_series(self.rows)}) s ORDER BY random()"
        self.execute(stage, "ANALYZE stage")
        began = time.perf_counter()
        self.execute(MERGES[operation])
        return {"rate": self.rows / (time.perf_counter() - began), "growth": 0.0, "cpu": 0.0}

    def read(self, way: str) -> dict[str, float]:
        if way in OURS_READ:
            turn = play(sys.executable, "bench.bulk.ours", "read", way, self.url)
        else:
            turn = play(self.peers, "bench.bulk.peer_ways.reads", way, self.url)
        return {"seconds": turn["seconds"], "growth": turn["growth"]}

    def turn(self, key: str) -> Row:
        """One turn, named as `write WAY OPERATION`, `read WAY` or `beside WAY`."""
        kind, way, *operation = key.split()
        if kind == "write":
            return self.write(way, *operation)
        return self.read(way) if kind == "read" else self.beside(None if way == "none" else way)

    def beside(self, mode: str | None) -> dict[str, float]:
        """What another client feels while an update runs; None: no update."""
        self.fresh("update")
        neighbour = Neighbour(self.url, self.rows // 2)
        rate = 0.0
        try:
            if mode is None:
                time.sleep(3)
            elif mode in ("polite", "fast"):
                turn = play(sys.executable, "bench.bulk.ours", "write", "update", self.url, str(self.rows), mode)
                rate = self.rows / turn["seconds"]
            else:
                turn = play(self.peers, "bench.bulk.peer_ways.writes", mode, "update", self.url, str(self.rows))
                rate = self.rows / turn["seconds"]
        finally:
            latencies = neighbour.stop()
        return {
            "rate": rate,
            "p50": percentile(latencies, 0.5),
            "p99": percentile(latencies, 0.99),
            "worst": latencies[-1],
        }


def _series(count: int) -> str:
    return (
        "SELECT n::bigint AS id, 'item ' || n AS name, (n / 4.0)::numeric(12,2) AS price, n % 1000 AS stock, "
        f'now() AS at, \'{{"a": 1, "tags": ["x", "y"]}}\'::jsonb AS extra FROM generate_series(0, {count - 1}) n'
    )


def measure(quick: bool = False) -> Result:
    """All ways, interleaved; medians of the rounds."""
    rounds, rows, many = (1, 20_000, 50_000) if quick else (ROUNDS, ROWS, MANY)
    keys = [f"write {way} {operation}" for way in WRITES for operation in OPERATIONS]
    keys += [*(f"read {way}" for way in READS), *(f"beside {way}" for way in BESIDE)]
    turns = Rounds("bulk", keys, rounds, keep=not quick)
    # WAL that does not force a checkpoint in the middle of one turn and not of another
    options = {"max_wal_size": "8GB", "shared_buffers": "512MB", "checkpoint_timeout": "30min"}
    with Postgres(durable=True, options=options) as server:
        bench = Bench(server, rows)
        bench.execute(
            f"CREATE TABLE many AS {_series(many)}", "ALTER TABLE many ADD PRIMARY KEY (id)", "VACUUM ANALYZE many"
        )
        raw = turns.run(bench.turn, _say)
    medians = {key: median_row(found) for key, found in raw.items()}
    result = _result(
        {way: {operation: medians[f"write {way} {operation}"] for operation in OPERATIONS} for way in WRITES},
        {way: medians[f"read {way}"] for way in READS},
        {way: medians[f"beside {way}"] for way in BESIDE},
        raw,
        (turns.rounds, rows, many),
    )
    turns.done()
    return result


def _say(key: str, row: Row) -> str:
    kind = key.split()[0]
    if kind == "write":
        return f"{key}: {row['rate']:,.0f} rows/s"
    return f"{key}: {row['seconds']:.2f} s" if kind == "read" else f"{key}: p99 {milliseconds(row['p99'])} ms"


Writes = dict[str, dict[str, dict[str, float]]]
Reads = dict[str, dict[str, float]]


def _mega(size: float) -> str:
    return f"{size / 1e6:,.1f}"


def _tables(writes: Writes, reads: Reads, felt: Reads, rows: int, many: int) -> list[Table]:
    return [
        Table(
            f"{rows:,} rows written, rows/s; the process's growth while it upserts",
            ["way", *OPERATIONS, "growth MB", "client CPU µs/row"],
            [
                [
                    WRITES[way],
                    *(f"{by[op]['rate']:,.0f}" for op in OPERATIONS),
                    _mega(by["upsert"]["growth"]),
                    f"{by['upsert']['cpu'] * 1e6:.1f}",
                ]
                for way, by in writes.items()
            ],
        ),
        Table(
            f"{many:,} rows read",
            ["way", "seconds", "growth MB"],
            [[READS[way], f"{row['seconds']:.2f}", _mega(row["growth"])] for way, row in reads.items()],
        ),
        Table(
            f"Another client's point update ({RATE:g}/s) while {rows:,} rows are updated",
            ["meanwhile", "p50 ms", "p99 ms", "worst ms", "bulk rows/s"],
            [
                [
                    {"none": "nothing"}.get(way) or WRITES[way],
                    milliseconds(row["p50"]),
                    milliseconds(row["p99"]),
                    milliseconds(row["worst"]),
                    f"{row['rate']:,.0f}" if row["rate"] else "–",
                ]
                for way, row in felt.items()
            ],
        ),
    ]


def _ratios(writes: Writes, reads: Reads, felt: Reads) -> list[Ratio]:
    def rate(way: str, operation: str) -> float:
        return writes[way][operation]["rate"]

    ratios = []
    for operation in ("update", "upsert"):
        best = max(rate("core", operation), rate("orm", operation))
        for name, value, bar in (
            ("SQLAlchemy's best bulk way", rate("polite", operation) / best, 2.0),
            ("row by row", rate("polite", operation) / rate("row_by_row", operation), 15.0),
            ("the server alone", rate("polite", operation) / rate("server", operation), 0.5),
        ):
            ratios.append(Ratio(f"{operation} against {name}", f"{value:.2f} ×", f"≥ {bar:g} ×", value >= bar))
    growth = max(writes["polite"][op]["growth"] for op in OPERATIONS)
    growth = max(growth, *(reads[way]["growth"] for way in ("rows", "pages", "csv")))
    ratios.append(
        Ratio("greatest growth of a write, a read or a CSV export", f"{_mega(growth)} MB", "≤ 20 MB", growth <= 20e6)
    )
    theirs = f"ADBC {_mega(reads['adbc']['growth'])} MB"
    ratios.append(Ratio("growth of an Arrow export", f"{_mega(reads['arrow']['growth'])} MB ({theirs})"))
    p99 = felt["polite"]["p99"]
    ratios.append(
        Ratio("another client's p99 beside a polite update", f"{milliseconds(p99)} ms", "≤ 100 ms", p99 <= 0.1)
    )
    share = felt["polite"]["rate"] / felt["fast"]["rate"]
    ratios.append(Ratio("the polite update's share of full speed", f"{share:.2f}", "≥ 0.70", share >= 0.7))
    psycopg_best = min(reads[way]["seconds"] for way in ("fetchall", "named", "stream"))
    for name, way, best, bar in (
        ("reading rows against psycopg's best way", "rows", psycopg_best, 1.05),
        ("CSV export against COPY", "csv", reads["copy"]["seconds"], 1.3),
        ("Arrow export against ADBC", "arrow", reads["adbc"]["seconds"], 1.3),
    ):
        value = reads[way]["seconds"] / best
        ratios.append(Ratio(name, f"{value:.2f} × the time", f"≤ {bar:g} ×", value <= bar))
    return ratios


def _result(writes: Writes, reads: Reads, felt: Reads, raw: dict[str, Any], size: tuple[int, int, int]) -> Result:
    rounds, rows, many = size
    ours, theirs = installed(sys.executable), named("bulk").versions
    versions = {name: ours[name] for name in ("headgate", "psycopg", "sqlalchemy", "pyarrow")}
    versions |= {name: theirs[name] for name in ("asyncpg", "psycopg2-binary", "adbc-driver-postgresql")}
    bars = {WRITES[way]: by["upsert"]["rate"] for way, by in writes.items() if way != "server"}
    return Result(
        name="bulk",
        title="Bulk writing and reading",
        question="What does a batch cost its client, its database and the others who use the same table?",
        setup=[
            "PostgreSQL on the same machine, fsync on; six columns: bigint key, text, numeric, int, timestamptz, jsonb",
            "keys in random order; half of them are in the table before an update and an upsert",
            f"each turn in a process of its own, {rounds} interleaved rounds, medians",
            "Headgate commits chunk by chunk, each with its checkpoint; the others are one transaction or none",
        ],
        tables=_tables(writes, reads, felt, rows, many),
        ratios=_ratios(writes, reads, felt),
        plots=[Plot(f"Upsert of {rows:,} rows", "rows/s", bars, "more")],
        versions=versions,
        raw=raw,
    )
