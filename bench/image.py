"""The image's size, unpacked, beside what the same flow would take otherwise. Needs Docker's engine."""

import subprocess

from stage import ROOT, TOOLKIT_VENV, require, toolkit_python

BUDGET_MB = 4.5


def megabytes(size: int) -> str:
    """As Docker writes it: a megabyte is a million bytes."""
    return f"{size / 1e6:8.2f} MB"


def main() -> None:
    """Print the sizes."""
    require("docker", "debootstrap")
    name = subprocess.run(["test/container/image.sh"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    inspect = ["docker", "image", "inspect", "--format", "{{.Size}}", name.stdout.strip()]
    size = int(subprocess.run(inspect, check=True, stdout=subprocess.PIPE, text=True).stdout)
    toolkit_python()
    packages = sum(file.stat().st_size for file in TOOLKIT_VENV.rglob("site-packages/**/*") if file.is_file())
    print("image, unpacked")
    print(f"  pipe                         {megabytes(size)}   (budget {BUDGET_MB} MB)")
    print(f"  bitbucket-pipes-toolkit      {megabytes(packages)}   its packages alone, without Python and a base image")


if __name__ == "__main__":
    main()
