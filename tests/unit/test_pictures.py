"""The report's pictures: what they draw from a run, how many of them, and from odd values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import HOSTILE, job_events, write_journal

from farm.analysis import curves
from farm.analysis.matrix import alike
from farm.analysis.topology import Path as Way
from farm.analysis.topology import frames as frames_of
from farm.model import Verdict
from farm.report.pictures import frames, mapcost, topology, wakes
from farm.report.pictures.gallery import MAX_ALIKE, gallery
from farm.report.pictures.svg import colour
from farm.store.fold import fold_journal
from farm.store.records import JobRecord, RunRecord, SampleRecord, TestRecord

KIB, MIB = 1 << 10, 1 << 20
SIZES = [(size, run) for run in (4 * KIB, 64 * KIB) for size in (64 * KIB, MIB, 4 * MIB)]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobRecord:
    path = tmp_path_factory.mktemp("job") / "journal.jsonl"
    return fold_journal(write_journal(path, job_events(1, "virt-smmuv3-1", "virt-smmuv3"))).job


def measured(
    case: str, params: Mapping[str, str], samples: Iterable[tuple[str, str, float]]
) -> TestRecord:
    values = tuple(
        SampleRecord(f"{metric} {phase}", metric, value, "ns", {"phase": phase}, number)
        for number, (metric, phase, value) in enumerate(samples)
    )
    return TestRecord(
        nodeid=f"{case}{sorted(params.items())}", attempt=1, final=True, suite="mapcache",
        test=case, case=case, case_hash="", params=params, requirements=(), verdict=Verdict.PASS,
        reason="", duration_s=0.0, started_at=0.0, boot=1, console=(), cell=None, samples=values,
        absent=(),
    )  # fmt: skip


def map_cost(size: object, run: object, time: float, entries: float = 0.0) -> TestRecord:
    params = {"importer": "cirrus", "size": str(size), "run": str(run)}
    samples = [("map_time", "p50", time), ("map_time", "max", 9 * time)]
    return measured("map_cost", params, [*samples, ("iommu_map", "map", entries)])


def wake(exporter: str, *values: float) -> TestRecord:
    told = zip(("p0", "p50", "p99", "p100"), values, strict=True)
    samples = [("wake_quantile", phase, value) for phase, value in told]
    return measured("sync_wakes", {"exporter": exporter}, samples)


def frame_rate(size: str, depth: object, rate: float) -> TestRecord:
    samples = [("frame_rate", "steady", rate), ("frame_cpu_time", "steady", 1e9 / rate)]
    return measured("codec_rate", {"codec": "vicodec", "size": size, "depth": str(depth)}, samples)


def with_curves(job: JobRecord, name: str = "board-1", iommu: bool = True) -> JobRecord:
    costs = [map_cost(size, run, size / 10, size / run * iommu) for size, run in SIZES]
    wakers = [wake("udmabuf", 5e4, 1e5, 3e5, 9e5), wake("vgem", 6e4, 2e5, 4e5, 8e5)]
    return replace(job, job=name, board=name, tests=(*job.tests, *costs, *wakers))


def run_of(*jobs: JobRecord) -> RunRecord:
    return RunRecord("r", 0.0, jobs)


def drawn(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.get("role") == "img" and root.get("aria-label")
    assert "#0102" not in svg, "a colour that is none of the page's"
    return root


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in drawn(svg).iter() if "text" in element.tag]


def test_map_cost_is_over_size_with_a_line_for_each_length_of_runs(job: JobRecord) -> None:
    (cost,) = curves.map_costs(run_of(with_curves(job)))
    assert [line.key for line in cost.time.lines] == [4 * KIB, 64 * KIB]
    assert [(point.x, point.y) for point in cost.time.lines[0].points] == [
        (64 * KIB, 6553.6), (MIB, 104857.6), (4 * MIB, 419430.4),
    ]  # fmt: skip
    assert [point.y for point in cost.entries.lines[1].points] == [1, 16, 64]
    told = texts(mapcost.picture([cost], name="x").svg)
    assert {"size of the buffer", "time of one map", "IOMMU entries"} <= set(told)
    assert any("64" in one and "KiB" in one for one in told)


def test_replicates_give_the_median_and_its_range(job: JobRecord) -> None:
    test = map_cost(MIB, 4096, 100.0)
    more = [replace(test.samples[0], value=value, replicate=1) for value in (80.0, 130.0)]
    test = replace(test, samples=(*test.samples, *more))
    (cost,) = curves.map_costs(run_of(replace(job, tests=(test,))))
    ((point,),) = (line.points for line in cost.time.lines)
    assert (point.y, point.low, point.high) == (100.0, 80.0, 130.0)
    drawn(mapcost.picture([cost], name="x").svg)


def test_without_an_iommu_there_are_no_entries(job: JobRecord) -> None:
    run = run_of(with_curves(job, "a"), with_curves(job, "b", iommu=False))
    told = texts(mapcost.picture(curves.map_costs(run), name="x").svg)
    assert "no IOMMU translates" in told
    alone = run_of(with_curves(job, "b", iommu=False))
    assert "IOMMU entries" not in texts(mapcost.picture(curves.map_costs(alone), name="x").svg)


@pytest.mark.parametrize("odd", ["", "-1", "1e9", "0", "\uff19", HOSTILE, str(1 << 70)])
def test_parameters_that_are_no_sizes_are_left_out(job: JobRecord, odd: str) -> None:
    assert curves.map_costs(run_of(replace(job, tests=(map_cost(odd, 4096, 1.0),)))) == ()
    assert curves.map_costs(run_of(replace(job, tests=(map_cost(4096, odd, 1.0),)))) == ()


def test_wakes_are_a_line_an_exporter(job: JobRecord) -> None:
    found = curves.wakes(run_of(with_curves(job)))
    assert [(one.exporter, [one.within(share) for share in wakes.MARKED]) for one in found] == [
        ("udmabuf", [1e5, 3e5, 9e5]), ("vgem", [2e5, 4e5, 8e5]),
    ]  # fmt: skip
    assert found[0].within(10) == 1e5 and found[0].within(0) == 5e4
    told = texts(wakes.picture(found, name="x").svg)
    assert "board-1 · udmabuf" in told and "board-1 · vgem" in told
    assert "100\u202fµs / 300\u202fµs / 900\u202fµs" in told
    assert "half of them within 200\u202fµs, 99 % within 400\u202fµs" in wakes.summary(found)


@pytest.mark.parametrize("phase", ["p1e2", "p101", "p", "p-1", "max", "p\uff11", HOSTILE])
def test_a_distribution_that_is_none_is_left_out(job: JobRecord, phase: str) -> None:
    test = measured("sync_wakes", {"exporter": "x"}, [("wake_quantile", phase, 1.0)])
    assert curves.wakes(run_of(replace(job, tests=(test,)))) == ()


def test_a_distribution_never_falls(job: JobRecord) -> None:
    (found,) = curves.wakes(run_of(replace(job, tests=(wake("x", 5.0, 3.0, 9.0, 8.0),))))
    assert found.points == ((0, 5), (50, 5), (99, 9), (100, 9))


def test_frame_rates_are_over_depth_with_a_line_for_each_size(job: JobRecord) -> None:
    tests = [frame_rate(f"{size}p", depth, 1e5 / size) for size in (240, 720) for depth in (2, 4)]
    odd = [frame_rate("big", 2, 1.0), frame_rate("240p", "x", 1.0)]
    (found,) = curves.frame_rates(run_of(replace(job, tests=(*tests, *odd))))
    assert [(line.key, len(line.points)) for line in found.rate.lines] == [(240, 2), (720, 2)]
    assert "417 frames per second at 240p, 139 frames per second at 720p" in frames.summary([found])
    told = texts(frames.picture([found], name="x").svg)
    assert {"240p", "720p", "frames per second", "buffers in each queue"} <= set(told)


def test_many_boards_are_bounded(job: JobRecord) -> None:
    jobs = [with_curves(job, f"board-{number}") for number in range(20)]
    found = gallery(run_of(*jobs))
    assert [len(one) for one in (found.matrices, found.topologies)] == [1, 1]
    assert found.matrices[0].title.endswith("and 16 more alike")
    assert found.map_cost is not None and "12 more are in the cases" in found.map_cost.told
    assert found.wakes is not None and "34 faster ones are in the cases" in found.wakes.told
    differ = [replace(one, board_type=f"type-{number}") for number, one in enumerate(jobs)]
    many = gallery(run_of(*differ)).matrices
    assert len(many) == 20 and sum(one.drawing is not None for one in many) == MAX_ALIKE
    assert all(one.told for one in many)


def test_matrices_that_differ_in_cost_only_share_one(job: JobRecord) -> None:
    def slower(test: TestRecord) -> TestRecord:
        samples = [
            replace(one, value=3 * one.value) if one.metric == "wall" else one
            for one in test.samples
        ]
        return replace(test, samples=tuple(samples))

    slow = replace(job, job="b", board="b", tests=tuple(map(slower, job.tests)))
    ((jobs, merged),) = alike([job, slow])
    assert [one.board for one in jobs] == [job.board, "b"]
    pair = ("udmabuf", "cirrus")
    (_, alone), *_ = alike([job])
    cost, usual = merged.cells[pair].cost_ns, alone.cells[pair].cost_ns
    assert cost is not None and usual is not None and cost == pytest.approx(2 * usual)
    assert len(alike([job, replace(slow, boots=())])) == 2, "another kernel is another matrix"


def test_exact_boards_share_the_matrix_of_the_tests_that_they_share(job: JobRecord) -> None:
    halves = [
        replace(job, job=name, board=name, hardware={"exact": "yes"}, tests=job.tests[half::2])
        for half, name in enumerate(("a", "b"))
    ]
    ((_, whole),) = alike([job])
    ((jobs, merged),) = alike(halves)
    assert [one.board for one in jobs] == ["a", "b"]
    assert merged.cells == whole.cells
    assert set(merged.exporters) == set(whole.exporters)
    assert set(merged.importers) == set(whole.importers)
    noisy = [replace(one, hardware={}) for one in halves]
    assert len(alike(noisy)) == 2, "other boards have each run everything"


def told_topology(job: JobRecord, **parts: Any) -> JobRecord:
    boot = replace(job.boots[-1], topology={**job.boots[-1].topology, **parts})
    return replace(job, boots=(boot,))


DECLARED = [
    {"id": "cirrus", "kind": "drm", "driver": "cirrus", "address": "drm:cirrus", "imports": True},
    {"id": "gpu", "kind": "drm", "driver": "virtio_gpu", "address": "drm:virtio_gpu"},
    {"id": "vgem", "kind": "drm", "driver": "vgem", "address": "drm:vgem", "exports": True},
    {"id": "udmabuf", "kind": "udmabuf", "driver": "udmabuf", "address": "udmabuf"},
]


def test_topology_tells_which_iommu_serves_which_device(job: JobRecord) -> None:
    nodes = [*job.boots[-1].topology["drm"], {"node": "card9", "pci": "0000:00:01.0"}]
    found = frames_of(told_topology(job, declared=DECLARED, drm=nodes))
    served, software = found
    assert (served.path, served.name) == (Way.IOMMU, "smmu3.0x0000000009050000")
    chips = {chip.name: chip for chip in served.chips}
    assert {name for name, chip in chips.items() if chip.tested} == {"cirrus", "gpu"}
    assert chips["cirrus"].imports and chips["cirrus"].group == "group 1, DMA"
    assert "0000:00:03.0" in chips and not chips["0000:00:03.0"].tested
    assert software.path is Way.SOFTWARE
    assert {chip.name for chip in software.chips if chip.tested} == {"vgem", "udmabuf"}
    told = texts(topology.picture(found, name="x").svg)
    assert "behind the IOMMU smmu3.0x0000000009050000" in told
    assert "in" in told and "out" in told


def test_a_driver_is_known_by_each_of_its_names(job: JobRecord) -> None:
    renamed = {"0000:00:02.0": {"driver": "cirrus-qemu", "iommu": "smmu"}}
    declared = [{**DECLARED[0], "address": "drm:cirrus,cirrus-qemu"}]
    found = frames_of(told_topology(job, declared=declared, devices=renamed))
    (chip,) = (chip for frame in found for chip in frame.chips if chip.tested)
    assert (chip.name, chip.at) == ("cirrus", "0000:00:02.0")


def test_identity_groups_translate_nothing(job: JobRecord) -> None:
    groups = [{"id": "1", "type": "identity", "devices": ["0000:00:02.0"]}]
    found = frames_of(told_topology(job, declared=DECLARED, iommu_groups=groups))
    assert [frame.path for frame in found] == [Way.DIRECT, Way.SOFTWARE]


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "pci", "driver", "kind"]), inner)
    ),
    max_leaves=8,
)


@given(
    parts=st.dictionaries(
        st.sampled_from(["declared", "iommu_groups", "devices", "drm", "v4l2"]), JSON
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_topology_of_any_shape_is_told(job: JobRecord, parts: dict[str, Any]) -> None:
    assert topology.summary(frames_of(told_topology(job, **parts)))


def test_what_a_board_said_is_text_and_bounded(job: JobRecord) -> None:
    hostile = [{**one, "id": HOSTILE * 40, "driver": HOSTILE} for one in DECLARED]
    named = replace(told_topology(job, declared=hostile), board=HOSTILE)
    found = gallery(run_of(with_curves(named, HOSTILE)))
    for one in (*found.matrices, *found.topologies, *found.curves):
        assert one.drawing is not None
        drawn(one.drawing.svg)
        assert "<script" not in one.drawing.svg and len(one.drawing.svg) < 300_000


def test_an_empty_run_has_no_pictures(job: JobRecord) -> None:
    found = gallery(run_of(replace(job, tests=(), boots=())))
    assert not (found.matrices or found.topologies or found.curves)


def test_the_page_has_every_colour_in_light_and_dark() -> None:
    css = (Path(__file__).parents[2] / "farm/report/templates/report.css").read_text()
    light, dark = css.partition("@media (prefers-color-scheme: dark)")[::2]
    dark = dark.partition("* {")[0]
    from farm.report.pictures import svg

    for name in svg._VARIABLES:
        assert colour(name)
        assert f"--{name}:" in light and f"--{name}:" in dark, name
