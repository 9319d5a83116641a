"""The line to paste when a firewall stands between the peers and a server."""

from __future__ import annotations

__all__ = ["firewall_lines"]


def firewall_lines(platform: str, *ports: int) -> tuple[str, ...]:
    """Commands that let these UDP ports in, one for each firewall that `platform` is likely to have.

    `platform` is named as in sys.platform. Empty where firewalls are not opened by port.
    """
    low, *_ = known = sorted(set(ports))
    high = known[-1]
    is_range = len(known) > 1 and high - low + 1 == len(known)
    listed = ",".join(map(str, known))
    if platform.startswith("linux"):
        ufw = f"{low}:{high}" if is_range else listed
        firewalld = f"--add-port={low}-{high}/udp" if is_range else " ".join(f"--add-port={port}/udp" for port in known)
        nft = f"{low}-{high}" if is_range else listed if len(known) == 1 else f"'{{ {', '.join(map(str, known))} }}'"
        return (
            f"sudo ufw allow {ufw}/udp",
            f"sudo firewall-cmd {firewalld}",
            f"sudo nft insert rule inet filter input udp dport {nft} accept",
        )
    if platform == "win32":
        ports_words = f"{low}-{high}" if is_range else listed
        rule = f"name=fountain dir=in action=allow protocol=UDP localport={ports_words}"
        return (f"netsh advfirewall firewall add rule {rule}",)
    return ()
