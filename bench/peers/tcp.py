"""One file over TCP: nginx sends it with sendfile, curl takes it; any congestion control that the kernel has."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Job, Outcome, Process, ToolError, free_port

__all__ = ["Tcp"]

INTERFACE = "eth0"
CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
CURL_TOO_SLOW = 28  # curl's status for --max-time
SETTINGS = """daemon off; master_process off; worker_processes 1; user root; error_log stderr; pid nginx.pid;
events {{ worker_connections 512; }}
http {{
    sendfile on; tcp_nopush on; access_log off; default_type application/octet-stream;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen {address}:{port}{tls}; root {root}; ssl_certificate cert.pem; ssl_certificate_key key.pem; }}
}}
"""


@dataclass(frozen=True)
class Tcp:
    """nginx and curl. A transfer that takes longer than `cut_s` is cut off and rated by what had come by then."""

    control: str = ""  # the machine's own
    tls: bool = False
    cut_s: float = 30.0

    @property
    def name(self) -> str:
        return f"curl, {'HTTPS' if self.tls else 'HTTP'}, TCP {(self.control or CONTROL.read_text().strip()).upper()}"

    @property
    def packages(self) -> Mapping[str, str]:
        return {"nginx": "nginx-light", "curl": "curl", "openssl": "openssl"}

    def transfer(self, job: Job) -> Outcome:
        port = free_port()
        make_certificate(job.directory)
        settings = job.directory / "nginx.conf"
        settings.write_text(
            SETTINGS.format(address=job.sender.address, port=port, tls=" ssl" if self.tls else "", root=job.file.parent)
        )
        self._choose_control(job)
        url = f"{'https' if self.tls else 'http'}://{job.sender.address}:{port}/{job.file.name}"
        with contextlib.ExitStack() as stack:
            argv = ["nginx", "-p", job.directory, "-c", settings]
            server = stack.enter_context(Process(job.sender, argv, job.directory / "nginx.log", job.patience_s + 10))
            server.wait_port(port)
            clients = [
                stack.enter_context(
                    Process(
                        host,
                        ["curl", "-sSk", "--max-time", self.cut_s, "-o", copy, "-w", "%{json}", url],
                        job.directory / f"curl-{number}.log",
                        job.patience_s,
                    )
                )
                for number, (host, copy) in enumerate(zip(job.receivers, job.copies))
            ]
            for client in clients:
                with contextlib.suppress(ToolError):  # being cut off is no failure
                    client.wait()
                if client.status not in (0, CURL_TOO_SLOW):
                    raise ToolError(f"curl ended with {client.status}: {client.text[-500:]}")
            whole_s = time.monotonic() - clients[0].started_s
            server.stop()
        told = [json.loads(client.log.read_text()) for client in clients]
        return Outcome(
            tuple(int(words["size_download"]) for words in told),
            tuple(float(words["time_total"]) for words in told),
            whole_s,
            server.cpu_s,
            sum(client.cpu_s for client in clients),
        )

    def _choose_control(self, job: Job) -> None:
        """Set the congestion control of the sending host; a machine that is no laboratory keeps its own."""
        if not self.control:
            return
        if not job.sender.prefix:
            raise ToolError("only the congestion control of a laboratory's host can be chosen")
        # By route: a namespace may set its default to few of the algorithms, and its routes to all.
        for host in job.receivers:
            route = ["ip", "route", "replace", f"{host.address}/32", "dev", INTERFACE, "congctl", self.control]
            done = subprocess.run([*job.sender.prefix, *route], capture_output=True, text=True, check=False)
            if done.returncode:
                raise ToolError(f"the kernel has no TCP {self.control} (modprobe tcp_{self.control}): {done.stderr}")


def make_certificate(directory: Path) -> None:
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=bench"
    files = ["-keyout", directory / "key.pem", "-out", directory / "cert.pem"]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
