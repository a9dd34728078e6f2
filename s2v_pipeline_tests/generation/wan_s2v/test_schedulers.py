import numpy as np
import pytest
import torch

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.generation.wan_s2v.schedulers import Scheduler, make_scheduler
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden


def _velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.tanh(1.3 * x + t / 1000) - 0.1 * x  # as the vectors' metadata say


def _solved(scheduler: Scheduler, x: torch.Tensor) -> torch.Tensor:
    for t in scheduler.timesteps:
        x = scheduler.step(_velocity(x, t), t, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("case", range(4))
def test_official_timesteps_sigmas_and_samples(case: int) -> None:
    metadata, golden = load_golden("scheduler")
    made = metadata["cases"][case]
    assert made["velocity"] == "tanh(1.3*x + t/1000) - 0.1*x"
    scheduler = make_scheduler(made["solver"], steps=made["steps"], shift=made["shift"])
    assert scheduler.timesteps.dtype == torch.int64
    torch.testing.assert_close(scheduler.timesteps.float(), golden[f"output.{case}.timesteps"], rtol=0, atol=0)
    torch.testing.assert_close(scheduler.sigmas, golden[f"output.{case}.sigmas"], rtol=0, atol=1e-7)
    sample = _solved(scheduler, golden["input.noise"])
    torch.testing.assert_close(sample, golden[f"output.{case}.sample"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("shift", "expected"), [(5.0, [1000, 937.5, 833.3333, 625]), (3.0, [1000, 900, 750, 500])])
def test_euler_has_the_timesteps_of_distilled_loras(shift: float, expected: list[float]) -> None:
    scheduler = make_scheduler("euler", steps=4, shift=shift)
    np.testing.assert_allclose(scheduler.timesteps.numpy(), np.array(expected), rtol=1e-6)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), np.array([*expected, 0]) / 1000, rtol=1e-6)


def test_euler_follows_the_velocity() -> None:
    scheduler = make_scheduler("euler", steps=4, shift=3.0)
    x = torch.full((1, 4), 2.0)
    for t in scheduler.timesteps:
        x = scheduler.step(torch.full_like(x, 1.5), t, x, return_dict=False)[0]
    torch.testing.assert_close(x, torch.full((1, 4), 0.5))  # 2 - 1.5 * (1 - 0)


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
def test_any_number_of_steps_ends_finite_at_sigma_zero(solver: str, steps: int) -> None:
    scheduler = make_scheduler(solver, steps=steps, shift=3.0)  # type: ignore[arg-type]
    assert len(scheduler.timesteps) == steps
    assert float(scheduler.sigmas[-1]) == 0
    assert bool((scheduler.sigmas.diff() < 0).all())
    assert bool(torch.isfinite(_solved(scheduler, torch.randn(1, 8))).all())


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
@pytest.mark.parametrize("steps", [5, 20])
def test_an_exact_velocity_is_followed_exactly(solver: str, steps: int) -> None:
    # All noise and one clean picture: velocity = (x - clean) / sigma, which every solver must solve to `clean`.
    scheduler = make_scheduler(solver, steps=steps, shift=3.0)  # type: ignore[arg-type]
    clean, x = torch.linspace(-1, 1, 8)[None], torch.randn(1, 8)
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        x = scheduler.step((x - clean) / sigma, t, x, return_dict=False)[0]
    torch.testing.assert_close(x, clean, rtol=0, atol=1e-5)


def test_a_scheduler_is_fresh_each_time() -> None:
    noise = torch.randn(1, 8)
    runs = [_solved(make_scheduler("unipc", steps=6, shift=3.0), noise) for _ in range(2)]
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"solver": "ddim"}, "one of unipc, dpm\\+\\+, euler; got 'ddim'"),
        ({"steps": 0}, "from 1 to 1000; got 0"),
        ({"steps": 1001}, "got 1001"),
        ({"steps": 4.0}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"shift": 0.0}, "greater than 0"),
        ({"shift": -3.0}, "greater than 0"),
        ({"shift": float("nan")}, "got nan"),
        ({"shift": float("inf")}, "got inf"),
        ({"shift": 1e9}, "at most 1000"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"solver": "unipc", "steps": 4, "shift": 3.0} | change
    with pytest.raises(SettingsError, match=says):
        make_scheduler(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
@pytest.mark.parametrize("shift", [0.01, 1000.0])
def test_shifts_at_the_limits_work(solver: str, shift: float) -> None:
    scheduler = make_scheduler(solver, steps=10, shift=shift)  # type: ignore[arg-type]
    assert bool(torch.isfinite(_solved(scheduler, torch.randn(1, 8))).all())
