"""What a stream to a large group costs, in the seeded world: `python -m bench.world_fleet [--receivers N]`.

The figures are counts of packets and octets, and virtual time: they are the same on every machine. How long the
simulation takes is printed too; that is no property of the protocol.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from fountain.limits import NS
from fountain.testing import Fleet, FleetFigures, FleetOptions

__all__ = ["main"]

MANY_COUNT = 5_000  # From here on the object is the large one.


def options_of(arguments: argparse.Namespace) -> FleetOptions:
    """The fleet that the command line asks for."""
    count = arguments.receivers
    options = FleetOptions.large(count) if count >= MANY_COUNT else FleetOptions(count)
    options = replace(options, loss=arguments.loss)
    return options if arguments.churn else replace(options, late=0.0, dying=0.0, returning=0.0)


def tell(figures: FleetFigures, seconds: float) -> None:
    """Print what a run came to."""
    print(f"receivers             {figures.receiver_count:,}, {figures.living_count:,} to the end")
    print(f"have the object       {figures.done_count:,}; not acknowledged {figures.unheard_count:,}")
    print(f"data packets          {figures.sent_count:,}, {figures.sent_share:.3f} of {figures.ideal_count:,.0f}")
    print(f"reports               {figures.report_count:,}, {figures.feedback_size:,} octets")
    print(f"feedback              {figures.feedback_share:.2%} of {figures.data_size:,} octets of data")
    print(f"Announces, Plans      {figures.control_size:,} octets")
    print(f"object everywhere     {figures.object_ns / NS:.2f} s; all acknowledged {figures.duration_ns / NS:.2f} s")
    print(f"simulated in          {seconds:.0f} s of a processor")


def main(argv: list[str] | None = None) -> None:
    """Play one fleet."""
    parser = argparse.ArgumentParser(prog="python -m bench.world_fleet", description=__doc__)
    parser.add_argument("--receivers", type=int, default=1_000, help="how many (default 1000)")
    parser.add_argument("--loss", type=float, default=0.05, help="share of packets lost each way (default 0.05)")
    parser.add_argument("--seed", type=int, default=1, help="what everything follows from (default 1)")
    parser.add_argument("--churn", action="store_true", help="receivers come late, die, and come back")
    arguments = parser.parse_args(argv)
    began = time.process_time()
    figures = Fleet(arguments.seed, options_of(arguments)).run()
    tell(figures, time.process_time() - began)


if __name__ == "__main__":
    main()
