"""`stackgan doctor`: checks whether this machine is ready to use."""

from __future__ import annotations

from dataclasses import asdict

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.errors import EnvironmentProblem

EPILOG = examples("stackgan doctor", "stackgan doctor --json", "stackgan doctor --workspace ~/birds")


def doctor(ctx: typer.Context) -> None:
    """Check versions, device, disk and caches; exit with code 6 if something is wrong."""
    from stackgan_cli.workflows.doctor import doctor as check_all

    session = session_of(ctx)
    checks = check_all(workspace=session.workspace)
    lines = [f"{'ok ' if check.ok else 'BAD'} {check.name:<12} {check.detail}" for check in checks]
    session.result({"checks": [asdict(check) for check in checks]}, "\n".join(lines))
    bad = [check for check in checks if not check.ok]
    if bad:
        raise EnvironmentProblem(f"{len(bad)} of {len(checks)} checks failed: {', '.join(check.name for check in bad)}", hint=bad[0].hint)
