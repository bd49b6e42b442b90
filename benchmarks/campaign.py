"""Train several recipes within a time limit, on a GPU or on processor cores.

    python benchmarks/campaign.py recipes/campaigns/gpu.yaml --data_dir D --output_dir OUT \
        --time_limit 540 --parallel 4

Each run of the plan is trained, evaluated and kept in OUT/results/; small checkpoints are copied to
OUT/weights/, and what the programs print is in OUT/logs/. At the time limit trainings stop after
their last finished epoch; the same command goes on with them and leaves out what is done. --pilot
makes every run short, one epoch of 256 rows, to find a mistake before it costs time: choose another
OUT for it. docs/results.md describes plans.
"""

import argparse
import sys
from pathlib import Path

from ferplus_keras.cli import run
from ferplus_keras.config import default_data_dir
from ferplus_keras.extras import STACK, require

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def job(argv):
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path(default_data_dir()))
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--time_limit", type=float, help="seconds; default: none")
    parser.add_argument("--parallel", type=int, default=1, help="runs side by side [1]")
    parser.add_argument("--largest_weights", type=float, default=30, help="MiB to copy [30]")
    parser.add_argument("--pilot", action="store_true", help="one short epoch of one seed each")
    arguments = parser.parse_args(argv)
    require(STACK, "training")
    from ferplus_keras.results.campaign import Campaign, Places, format_results
    from ferplus_keras.results.plan import read_plan

    jobs = read_plan(arguments.plan, RECIPES, pilot=arguments.pilot)
    places = Places(arguments.data_dir.resolve(), arguments.output_dir.resolve())
    campaign = Campaign(
        jobs,
        places,
        parallel=arguments.parallel,
        time_limit=arguments.time_limit,
        largest_weights=int(arguments.largest_weights * 2**20),
    )
    went_well = campaign.run()
    print(format_results(jobs, places))
    if not went_well:
        raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(run(job))
