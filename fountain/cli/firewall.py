"""The line to paste when a firewall stands between the peers and a server."""

from __future__ import annotations

__all__ = ["firewall_lines"]


def firewall_lines(port: int, data_port: int, platform: str) -> tuple[str, ...]:
    """Commands that let both UDP ports in, one for each firewall that `platform` is likely to have.

    `platform` is named as in sys.platform. Empty where firewalls are not opened by port.
    """
    low, high = sorted((port, data_port))
    adjoin = high == low + 1
    if platform.startswith("linux"):
        ufw = f"{low}:{high}" if adjoin else f"{low},{high}"
        firewalld = f"--add-port={low}-{high}/udp" if adjoin else f"--add-port={low}/udp --add-port={high}/udp"
        nft = f"{low}-{high}" if adjoin else f"'{{ {low}, {high} }}'"
        return (
            f"sudo ufw allow {ufw}/udp",
            f"sudo firewall-cmd {firewalld}",
            f"sudo nft insert rule inet filter input udp dport {nft} accept",
        )
    if platform == "win32":
        ports = f"{low}-{high}" if adjoin else f"{low},{high}"
        rule = f"name=fountain dir=in action=allow protocol=UDP localport={ports}"
        return (f"netsh advfirewall firewall add rule {rule}",)
    return ()
