#!/bin/sh
# Installs the tools that `make bench` measures fountain beside, from Debian's packages (Debian, Ubuntu), and says
# which are there. Without them `make bench` measures fountain alone. Run it as root.
set -u
# The command, and the package that has it.
TOOLS="nginx:nginx-light curl:curl openssl:openssl rsync:rsync uftp:uftp udp-sender:udpcast
ip:iproute2 nft:nftables ethtool:ethtool setpriv:util-linux"

missing() {
    for tool in $TOOLS; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${tool%%:*}" >/dev/null || echo "${tool##*:}"
    done
    # A library has no command to look for.
    PATH="$PATH:/usr/sbin:/sbin" ldconfig -p | grep -q 'libnorm\.so\.1' || echo libnorm1
}

wanted=$(missing)
if [ -n "$wanted" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "apt-get is not there. Install these by hand:" $wanted >&2
        exit 1
    fi
    apt-get update -qq
    for package in $wanted; do # one by one, so that one that a release lacks does not keep the others away
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
        # The benchmark runs these itself: what a package starts as a service is ended, and stays off.
        case $package in nginx-light) service=nginx ;; rsync | uftp) service=$package ;; *) continue ;; esac
        service "$service" stop >/dev/null 2>&1
        update-rc.d "$service" disable >/dev/null 2>&1
    done
fi
still=$(missing)
if [ -n "$still" ]; then
    echo "missing, and not measured:" $still >&2
    exit 1
fi
echo "every tool is there"
