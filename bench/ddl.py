#!/usr/bin/env python3
"""What capturing DDL costs the server: commands in a database with the extension against the same in one without, on one server.

Starts a PostgreSQL of its own (one that scripts/pgroot unpacked and scripts/installcheck built the extension for), and runs pgbench in
both databases in turn, in short slices, so that whatever else the machine does meets both. A run's ratio is the median of its slices'; prints
for each workload the median of the runs and every run's ratio. Exit code 1 when a median is above its limit.
"""
import argparse
import pathlib
import re
import signal
import statistics
import subprocess
import sys

from postgres import Server

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETTINGS = {"wal_level": "logical", "listen_addresses": "", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "shared_buffers": "256MB",
            "autovacuum": "off"}
# name: (title, script, transactions a slice, the limit of the ratio)
WORKLOADS = {
    "ddl": ("CREATE and DROP TABLE", "CREATE TABLE pair (id int PRIMARY KEY, v text);\nDROP TABLE pair;\n", 50, 1.3),
    "dml": ("INSERT, UPDATE, DELETE", "\\set id random(1, 1000000000)\nINSERT INTO t VALUES (:id, 'x') ON CONFLICT DO NOTHING;\n"
            "UPDATE t SET v = 'y' WHERE id = :id;\nDELETE FROM t WHERE id = :id;\n", 500, 1.03),
}


def sql(server, database, text):
    subprocess.run(server.client("psql", "unix", "-Xq", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", text), check=True)


def pgbench_s(server, database, script, transactions):
    """Seconds that the transactions took, connecting not counted."""
    output = subprocess.run(server.client("pgbench", "unix", "-n", "-f", script, "-t", str(transactions), database), check=True,
                            capture_output=True, text=True).stdout
    return transactions / float(re.search(r"tps = ([0-9.]+) \((?:without|excluding)", output)[1])


def one_run(server, script, transactions, slices):
    """Pairs of seconds, without and with the extension. The median of their ratios does not mind a slice that was disturbed."""
    pairs = []
    for i in range(slices):
        times = {}
        for database in sorted(("plain", "captured"), reverse=i % 2 == 0):
            times[database] = pgbench_s(server, database, script, transactions)
        pairs.append((times["plain"], times["captured"]))
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="15", help="of PostgreSQL (default 15)")
    parser.add_argument("--workloads", default="ddl,dml")
    parser.add_argument("--runs", type=int, default=5, help="runs of each workload (default 5)")
    parser.add_argument("--slices", type=int, default=30, help="slices of a run, in each database (default 30)")
    parser.add_argument("--no-fsync", action="store_true", help="leave the disk out of it, which makes the ratios larger")
    parser.add_argument("--null", action="store_true", help="install nothing: the ratios that the machine's noise alone makes")
    args = parser.parse_args()
    programs = ROOT / f"build/pg/{args.version}/usr/lib/postgresql/{args.version}/bin"
    if not (programs.parent / "lib/pgcapture.so").exists():
        sys.exit(f"ddl.py: no extension for PostgreSQL {args.version}: run scripts/installcheck {args.version}")
    server = Server({**SETTINGS, "fsync": "off" if args.no_fsync else "on"}, programs)
    failed = False
    # SIGTERM, too, is to end in `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for database in ("plain", "captured"):
            sql(server, "postgres", f"CREATE DATABASE {database}")
            sql(server, database, "CREATE TABLE t (id int PRIMARY KEY, v text)")
        if not args.null:
            sql(server, "captured", "CREATE EXTENSION pgcapture")
            sql(server, "postgres", "ALTER DATABASE captured SET session_preload_libraries = 'pgcapture'")
        for workload in args.workloads.split(","):
            name, text, transactions, limit = WORKLOADS[workload]
            script = f"{server.dir}/script.sql"
            with open(script, "w", encoding="utf-8") as out:
                out.write(text)
            one_run(server, script, transactions, 1)
            runs = [one_run(server, script, transactions, args.slices) for _ in range(args.runs)]
            ratios = [statistics.median(captured / plain for plain, captured in run) for run in runs]
            plain_us, captured_us = (statistics.median(pair[i] for run in runs for pair in run) * 1e6 / transactions for i in (0, 1))
            median = statistics.median(ratios)
            failed |= median > limit
            print(f"{name}: {plain_us:.0f} us without, {captured_us:.0f} us with, ratio {median:.3f} (limit {limit}),"
                  f" each run {' '.join(f'{r:.3f}' for r in ratios)}", flush=True)
    finally:
        server.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
