"""The whole stack as supervised processes, started in order, stopped in reverse, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mistudio_local.config import StackOptions
from mistudio_local.datafolder import DataFolder, FolderLock
from mistudio_local.errors import ProcessNotRunning
from mistudio_local.guard import Guard
from mistudio_local.layout import CPU_POOL, DOMAINS, GPU_POOL, PRODUCT, Layout, Programs, worker_kind
from mistudio_local.lifecycle import Startable
from mistudio_local.nats import NatsServer
from mistudio_local.orphans import end_all
from mistudio_local.postgres import PostgresServer
from mistudio_local.process import ProcessSpec, SupervisedProcess, stop_together
from mistudio_local.secretfiles import ensure_key_file

_LEFTOVER_GRACE_SECONDS = 3.0


class Stack(Startable):
    """An embedded stack: `with Stack(options) as stack` or `async with`, in a process of one's own or in a test.

    Attributes:
        options: ports, folders, numbers of processes.
        folder: where the data lies.
        postgres: the embedded server, None where the options name another one.
        nats: the embedded server, None where the options name another one.
    """

    def __init__(self, options: StackOptions, programs: Programs = PRODUCT) -> None:
        self.options = replace(options, data_dir=options.data_dir.resolve())
        self.folder = DataFolder(self.options.data_dir)
        self.postgres: PostgresServer | None = None
        self.nats: NatsServer | None = None
        self._programs = programs
        self._guard: Guard | None = None
        self._lock: FolderLock | None = None
        self._layout: Layout | None = None
        # By name, in the order of starting; a stage is what was started together.
        self._stages: list[dict[str, SupervisedProcess]] = []

    def start(self) -> None:
        """Start everything in order; each stage is ready before the next one starts.

        Raises:
            DataFolderInUse: another stack has the data folder.
            CannotRunHere: a port is taken, or a tool is missing.
            StartFailed: a process did not come up.
        """
        guard = self._claim_folder()
        self._start_servers(guard)
        self._layout = layout = Layout(self.options, self._programs, self._database_urls(), self.nats_url)
        self._migrate(guard, layout)
        mirror = layout.hub_mirror()
        self._start_stage([*map(layout.service, DOMAINS), *([mirror] if mirror else [])])
        self._start_stage([*self._worker_specs(layout), *map(layout.gateway, range(1, self.options.gateways + 1))])

    def _worker_specs(self, layout: Layout) -> list[ProcessSpec]:
        options = self.options
        pools = (
            ("datasets", CPU_POOL, options.datasets_workers),
            ("models", CPU_POOL, options.models_workers),
            ("models", GPU_POOL, options.models_gpu_workers),
        )
        return [layout.worker(domain, number, pool) for domain, pool, count in pools for number in range(1, count + 1)]

    def stop(self) -> None:
        """Stop everything in reverse order, then whatever has detached itself."""
        while self._stages:
            stop_together(list(self._stages[-1].values()))
            self._stages.pop()
        if self._guard:
            self._guard.stop()
            self._guard = None
        if self._lock:
            self._lock.release()
            self._lock = None

    @property
    def processes(self) -> Mapping[str, SupervisedProcess]:
        """All processes by name (`postgres`, `nats`, `datasets`, `datasets-worker-1`, `gateway-2` …), as started."""
        return {name: process for stage in self._stages for name, process in stage.items()}

    def process(self, name: str) -> SupervisedProcess:
        """The process called `name`.

        Raises:
            ProcessNotRunning: the stack has none of this name.
        """
        processes = self.processes
        if name not in processes:
            raise ProcessNotRunning(
                f"The stack has no process {name!r}", next_step=f"Name one of {', '.join(processes)}"
            )
        return processes[name]

    def scale(self, kind: str, count: int) -> None:
        """Start or stop processes of a kind until `count` are there.

        Args:
            kind: `datasets-worker`, `models-worker`, `models-gpu-worker` or `gateway`.
            count: how many shall be there.

        Raises:
            StartFailed: a new one did not come up.
        """
        make: dict[str, Callable[[int], ProcessSpec]] = {"gateway": self._arranged.gateway}
        for domain, pool in (*((domain, CPU_POOL) for domain in DOMAINS), ("models", GPU_POOL)):
            make[worker_kind(domain, pool)] = partial(self._arranged.worker, domain, pool=pool)
        last_stage = self._stages[-1]
        present = [name for name in last_stage if name.rpartition("-")[0] == kind]
        stop_together([last_stage.pop(name) for name in present[count:]])
        specs = map(make[kind], range(len(present) + 1, count + 1))
        self._launch(specs, last_stage)

    @property
    def gateway_targets(self) -> list[str]:
        """host:port of every gateway's gRPC."""
        return [gateway.spec.env["MISTUDIO_LISTEN"] for gateway in self._gateways()]

    @property
    def gateway_target(self) -> str:
        """host:port of the first gateway's gRPC."""
        return self.gateway_targets[0]

    @property
    def http_addresses(self) -> list[str]:
        """host:port of every gateway's HTTP."""
        return [gateway.spec.env["MISTUDIO_HTTP_LISTEN"] for gateway in self._gateways()]

    @property
    def targets(self) -> Mapping[str, str]:
        """host:port of the gRPC service of each domain (`datasets`, `models`), past the gateway."""
        return self._arranged.targets

    @property
    def hub_mirror_url(self) -> str | None:
        """Where the hub mirror answers, or None without one."""
        address = self._arranged.hub_mirror_address
        return f"http://{address}" if address else None

    @property
    def nats_url(self) -> str:
        """Where NATS answers, embedded or not."""
        if self.options.nats_url:
            return self.options.nats_url
        assert self.nats is not None, "the stack has been started"
        return self.nats.url

    @property
    def _arranged(self) -> Layout:
        assert self._layout is not None, "the stack has been started"
        return self._layout

    def _gateways(self) -> Sequence[SupervisedProcess]:
        return [process for name, process in self.processes.items() if name.startswith("gateway-")]

    def _claim_folder(self) -> Guard:
        guard = Guard()
        self._lock = FolderLock.acquire(self.folder.root, guard.stack_id)
        if self._lock.last_stack_id:
            # Finds nothing unless that stack's watchdog was killed too.
            end_all(self._lock.last_stack_id, _LEFTOVER_GRACE_SECONDS)
        self._guard = guard
        guard.keep_open = (self._lock.descriptor,)
        guard.start()
        self.folder.store.mkdir(exist_ok=True)
        ensure_key_file(self.folder.secret_key)
        return guard

    def _start_servers(self, guard: Guard) -> None:
        stage: dict[str, SupervisedProcess] = {}
        self._stages.append(stage)
        ports, durable = self.options.ports, self.options.durable
        if self.options.nats_url is None:
            self.nats = NatsServer(self.folder.nats, guard, port=ports.nats, durable=durable)
            stage["nats"] = self.nats.process
            self.nats.start()
        if self.options.datasets_database_url is None:
            self.postgres = PostgresServer(self.folder.postgres, guard, port=ports.postgres, durable=durable)
            stage["postgres"] = self.postgres.process
            self.postgres.start()

    def _database_urls(self) -> Mapping[str, str]:
        if self.postgres:
            return {domain: self.postgres.role(domain).url() for domain in DOMAINS}
        assert self.options.datasets_database_url and self.options.models_database_url
        return {"datasets": self.options.datasets_database_url, "models": self.options.models_database_url}

    def _migrate(self, guard: Guard, layout: Layout) -> None:
        runs = [self._supervised(layout.migration(domain), guard) for domain in DOMAINS]
        self._stages.append({run.spec.name: run for run in runs})
        for run in runs:
            run.launch()
        for run in runs:
            run.run_to_end()
        self._stages.pop()

    def _start_stage(self, specs: Iterable[ProcessSpec]) -> None:
        stage: dict[str, SupervisedProcess] = {}
        self._stages.append(stage)
        self._launch(specs, stage)

    def _launch(self, specs: Iterable[ProcessSpec], stage: dict[str, SupervisedProcess]) -> None:
        assert self._guard is not None, "the stack has been started"
        started = [self._supervised(spec, self._guard) for spec in specs]
        for process in started:
            stage[process.spec.name] = process
            process.launch()
        for process in started:
            process.wait_ready()

    def _supervised(self, spec: ProcessSpec, guard: Guard) -> SupervisedProcess:
        return SupervisedProcess(spec, self.folder.logs / f"{spec.name}.log", guard)
