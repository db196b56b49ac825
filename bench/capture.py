#!/usr/bin/env python3
"""Capture speed: slot -> durable in the embedded store and acknowledged, against pg_recvlogical.

Starts a PostgreSQL of its own, writes three backlogs behind a slot, and drains each of them several times, in turn, with
`pg_recvlogical` (same plugin options, to /dev/null) and with `pgcapture serve`, over TCP and over a Unix socket. A run's time is from the
start of the process to the moment when the server has seen the backlog's end confirmed (`serve`) or the client ends at it
(`pg_recvlogical`). Prints a table of medians, and of ratios taken run by run.
"""
import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from postgres import PLUGIN, Server, Sql, say

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    except (FileNotFoundError, ProcessLookupError):
        return None


def peak_mb(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def drain(sql, command, end, until_exit):
    """Seconds, CPU seconds of the client and of its walsender, and the client's peak memory in MB."""
    done = f"SELECT coalesce((SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = 'bench'), false)"
    sender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'bench' AND active"
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seen = {"sender_pid": None, "sender": 0.0, "client": 0.0, "mb": 0.0}
    while True:
        if seen["sender_pid"] is None:
            seen["sender_pid"] = sql(sender) or None
        for name, value in (("sender", seen["sender_pid"] and cpu_s(seen["sender_pid"])), ("client", cpu_s(process.pid)),
                            ("mb", peak_mb(process.pid))):
            if value is not None:
                seen[name] = max(seen[name], value)
        if process.poll() is not None:
            break
        if not until_exit and sql(done) == "t":
            break
        time.sleep(0.02)
    seconds = time.monotonic() - start
    if not until_exit:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended: {process.stderr.read()}")
        process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=30)[1]
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {error}")
    return {"seconds": seconds, "client": seen["client"], "sender": seen["sender"], "mb": seen["mb"]}


def one_run(server, sql, database, who, connection, end, pgcapture, work):
    sql("SELECT pg_copy_logical_replication_slot('bench_base', 'bench')")
    try:
        if who == "pg_recvlogical":
            command = server.client("pg_recvlogical", connection, "-d", database, "--slot=bench", "--start",
                                    f"--endpos={end}", "-f", "/dev/null", *PLUGIN)
        else:
            shutil.rmtree(work, ignore_errors=True)
            command = [pgcapture, "serve", "--source", server.url(connection, database), "--data-dir", work, "--topic", "bench",
                       "--no-ddl", "--listen", "127.0.0.1:0", "--log-level", "warning"]
        return drain(sql, command, end, until_exit=who == "pg_recvlogical")
    finally:
        for _ in range(100):
            if sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'bench'") != "t":
                break
            time.sleep(0.05)
        sql("SELECT pg_drop_replication_slot('bench')")


def inserts(transactions, rows):
    def write(server, database, sql):
        sql("CREATE TABLE t1 (id int PRIMARY KEY, v text)")
        script = (f"DO $$ BEGIN FOR t IN 0..{transactions - 1} LOOP INSERT INTO t1 SELECT t * {rows} + i, md5((t * {rows} + i)::text)"
                  f" FROM generate_series(1, {rows}) i; COMMIT; END LOOP; END $$")
        def go():
            sql(script)
            return transactions * rows
        return go
    return write


def tpcb(scale, clients, each):
    def write(server, database, sql):
        say("  pgbench -i")
        subprocess.run(server.client("pgbench", "unix", "-i", "-q", "-s", str(scale), database), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def go():
            subprocess.run(server.client("pgbench", "unix", "-n", "-c", str(clients), "-t", str(each), database), check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return clients * each * 4
        return go
    return write


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pgcapture", default="build/release/pgcapture", help="the binary to measure")
    parser.add_argument("--runs", type=int, default=3, help="runs of each pair (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the backlogs (default 1.0: the documented sizes)")
    parser.add_argument("--connections", default="tcp,unix")
    parser.add_argument("--workloads", default="rows,single,tpcb")
    args = parser.parse_args()
    n = args.scale
    workloads = {
        "rows": ("1,000,000 rows in 10,000 transactions", inserts(int(10_000 * n), 100)),
        "single": ("200,000 single-row transactions", inserts(int(200_000 * n), 1)),
        "tpcb": ("pgbench scale 10, 100,000 transactions", tpcb(10, 4, int(25_000 * n))),
    }
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    server = Server()
    work = tempfile.mkdtemp(prefix="pgc-bench-store-")
    rows = []
    try:
        for name in args.workloads.split(","):
            title, prepare = workloads[name]
            database = f"bench_{name}"
            say(f"{title}: writing the backlog")
            subprocess.run(server.client("createdb", "unix", database), check=True)
            sql = Sql(server, database)
            sql("CREATE PUBLICATION bench FOR ALL TABLES WITH (publish_via_partition_root = true)")
            go = prepare(server, database, sql)
            sql("SELECT pg_create_logical_replication_slot('bench_base', 'pgoutput')")
            changes = go()
            end = sql("SELECT pg_current_wal_lsn()")
            sql("CHECKPOINT")
            for connection in args.connections.split(","):
                runs = {"pg_recvlogical": [], "serve": []}
                for i in range(args.runs):
                    for who in runs:
                        run = one_run(server, sql, database, who, connection, end, args.pgcapture, work)
                        runs[who].append(run)
                        say(f"  {connection} run {i + 1} {who}: {run['seconds']:.2f} s")
                rows.append((name, connection, changes, runs))
            sql("SELECT pg_drop_replication_slot('bench_base')")
            sql.close()
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)

    def median(runs, key):
        return statistics.median(run[key] for run in runs)

    print(f"{os.cpu_count()} cores, medians of {args.runs} runs; changes/s in thousands; CPU in seconds per million changes")
    print("| backlog | connection | pg_recvlogical | serve | ratio | ratios, each run | CPU pg_recvlogical + walsender | CPU serve + walsender | peak MB pg_recvlogical | peak MB serve |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, connection, changes, runs in rows:
        base, ours = runs["pg_recvlogical"], runs["serve"]
        ratios = [b["seconds"] / o["seconds"] for b, o in zip(base, ours)]
        million = changes / 1e6
        print(f"| {name} | {connection} | {changes / median(base, 'seconds') / 1e3:.0f} k | {changes / median(ours, 'seconds') / 1e3:.0f} k "
              f"| {statistics.median(ratios):.2f} | {' '.join(f'{r:.2f}' for r in ratios)} "
              f"| {median(base, 'client') / million:.2f} + {median(base, 'sender') / million:.2f} "
              f"| {median(ours, 'client') / million:.2f} + {median(ours, 'sender') / million:.2f} "
              f"| {max(r['mb'] for r in base):.0f} | {max(r['mb'] for r in ours):.0f} |")


if __name__ == "__main__":
    main()
