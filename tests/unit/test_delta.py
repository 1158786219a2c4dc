"""The books of routes: against a naive model with refusals and drift, and example by example."""

from __future__ import annotations

import ipaddress
import itertools

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from bgp_ipvlan import delta, model

MAIN = model.Family.IPV4, model.MAIN
KEYS = [model.nlri(ipaddress.ip_network(f"10.0.{n}.0/24")) for n in range(6)]
A, B = KEYS[:2]


def via(number: int) -> model.Via:
    """A route, made anew each time, so that identity cannot be relied on."""
    return model.Via(number)


class Kernel:
    """One family's keys of our metric: ours, or somebody else's, or free."""

    def __init__(self) -> None:
        self.ours: dict[model.Nlri, model.RouteValue] = {}
        self.theirs: set[model.Nlri] = set()
        self.refuse: set[model.Nlri] = set()
        self.failures: list[model.RouteFailure] = []

    def write(self, batches: delta.Batches) -> None:
        """Do it as netlink does."""
        for batch in batches:
            assert batch.prefixes, "an empty batch"
            for key in batch.prefixes:
                self._write(batch, key)

    def _write(self, batch: model.RouteBatch, key: model.Nlri) -> None:
        if key in self.refuse:
            self.refuse.remove(key)
            self._fail(batch, key, "kernel-refused")
        elif batch.value is None:
            self.ours.pop(key, None)
        elif batch.replace:
            assert key not in self.theirs, "somebody else's route was overwritten"
            self.ours[key] = batch.value
        elif key in self.theirs or key in self.ours:
            self._fail(batch, key, "foreign-route")
        else:
            self.ours[key] = batch.value

    def lose(self, value: model.RouteValue) -> None:
        """A nexthop object goes, and all routes that point at it."""
        self.ours = {key: there for key, there in self.ours.items() if there != value}

    def drift(
        self, believed: dict[model.Nlri, model.RouteValue]
    ) -> dict[model.Nlri, model.RouteValue | None]:
        """What a reading shows beside what was believed."""
        keys = self.ours.keys() | believed.keys()
        return {k: self.ours.get(k) for k in keys if self.ours.get(k) != believed.get(k)}

    def _fail(self, batch: model.RouteBatch, key: model.Nlri, reason: str) -> None:
        self.failures.append(
            model.RouteFailure(MAIN, key, batch.value, batch.replace, reason, "by order")
        )

    def tell(self, book: delta.RouteBook) -> None:
        """Deliver the refusals."""
        failures, self.failures = self.failures, []
        for failure in failures:
            book.failed(failure)


keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)
values = st.one_of(
    st.none(),
    st.integers(1, 3),
    st.just(model.Blackhole()),
    st.just(model.Device(7, ipaddress.ip_address("10.0.0.1"))),
)


class Books(stateful.RuleBasedStateMachine):
    """Random wants, refusals, losses and readings; at rest the kernel has what is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel()
        self.book = delta.RouteBook(MAIN)
        self.wanted: dict[model.Nlri, model.RouteValue] = {}
        self.reading: dict[model.Nlri, model.RouteValue | None] | None = None
        self.ids = itertools.count(100)
        self.objects = {number: via(number) for number in range(1, 4)}
        self.swept = False

    @stateful.rule(value=values, prefixes=keys)
    def want(self, value: model.RouteValue | int | None, prefixes: list[model.Nlri]) -> None:
        """A change of what is wanted; a number is a next hop, by the object it has now."""
        if isinstance(value, int):
            value = via(self.objects[value].id)
        # Between a refused creation and its being told here, the next value goes out as a
        # replacement. The route writer sees to it that this spares a stranger (tests/netns,
        # test_a_queued_replacement_spares_a_stranger), so refused creations are told first.
        if any(f.value is not None and not f.replace for f in self.kernel.failures):
            self.kernel.tell(self.book)
        self.kernel.write(self.book.want(value, prefixes))
        for key in prefixes:
            if value is None:
                self.wanted.pop(key, None)
            else:
                self.wanted[key] = value

    @stateful.rule(key=st.sampled_from(KEYS))
    def refuse(self, key: model.Nlri) -> None:
        """The next write of a prefix fails."""
        self.kernel.refuse.add(key)

    @stateful.rule()
    def told(self) -> None:
        """Refusals arrive."""
        self.kernel.tell(self.book)

    @stateful.rule()
    def retry(self) -> None:
        """The time for another try has come."""
        self.kernel.tell(self.book)
        self.kernel.write(self.book.retry())

    @stateful.rule(key=st.sampled_from(KEYS))
    def theirs_comes(self, key: model.Nlri) -> None:
        """Somebody takes a key of our metric that is free, also in our books."""
        if key not in self.kernel.ours and self.book.actual(key) is None:
            self.kernel.theirs.add(key)

    @stateful.rule(key=st.sampled_from(KEYS))
    def theirs_goes(self, key: model.Nlri) -> None:
        """And gives it free."""
        self.kernel.theirs.discard(key)

    @stateful.rule(key=st.sampled_from(KEYS), silent=st.booleans())
    def deleted(self, key: model.Nlri, silent: bool) -> None:
        """A route of ours goes, with an event or without."""
        if self.kernel.ours.pop(key, None) is not None and not silent:
            self.kernel.write(self.book.lost([key], present=False))

    @stateful.rule(key=st.sampled_from(KEYS))
    def changed(self, key: model.Nlri) -> None:
        """Somebody changes a route of ours."""
        if key in self.kernel.ours:
            self.kernel.ours[key] = via(99)
            self.kernel.write(self.book.lost([key], present=True))

    @stateful.rule()
    def read(self) -> None:
        """The kernel is read; what happens until `observed` is not in the reading."""
        self.reading = self.kernel.drift(self.book.watch())

    @stateful.precondition(lambda self: self.reading is not None)
    @stateful.rule()
    def observed(self) -> None:
        """The reading arrives."""
        assert self.reading is not None
        self.kernel.tell(self.book)
        self.kernel.write(self.book.observe(self.reading))
        self.reading = None

    @stateful.rule(number=st.integers(1, 3))
    def retired(self, number: int) -> None:
        """A next hop leads nowhere: its object goes, and whoever wants it is told so at once."""
        old, self.objects[number] = self.objects[number], via(next(self.ids))
        self.kernel.tell(self.book)
        self.book.gone(old)
        self.kernel.lose(old)
        keys = [key for key, value in self.wanted.items() if value == old]
        self.kernel.write(self.book.want(None, keys))
        for key in keys:
            del self.wanted[key]
        assert not self.book.uses(old)

    @stateful.rule()
    def sweep(self) -> None:
        """All is known."""
        self.kernel.write(self.book.sweep())
        self.swept = True

    @stateful.invariant()
    def wants_are_kept(self) -> None:
        """The books say what was asked for."""
        assert self.book.wanted == self.wanted

    def teardown(self) -> None:
        """Nothing fails any more: an audit, a retry, and all is as wanted."""
        self.kernel.refuse.clear()
        for _ in range(2):
            self.kernel.tell(self.book)
            self.kernel.write(self.book.observe(self.kernel.drift(self.book.watch())))
            self.kernel.tell(self.book)
            self.kernel.write(self.book.retry())
        self.kernel.tell(self.book)
        expected = {k: v for k, v in self.wanted.items() if k not in self.kernel.theirs}
        there = self.kernel.ours
        if self.swept:
            assert there == expected
        assert {k: v for k, v in there.items() if k in self.wanted} == expected
        assert set(self.book.failing) == self.wanted.keys() & self.kernel.theirs
        assert self.kernel.drift(self.book.watch()) == {}, "the books are true"
        assert self.book.observe({}) == [], "at rest there is nothing to do"


TestBooks = Books.TestCase
TestBooks.settings = hypothesis.settings(max_examples=300, stateful_step_count=30, deadline=None)


def failure(
    key: model.Nlri, value: model.RouteValue | None, *, replace: bool = False
) -> model.RouteFailure:
    """The kernel's refusal."""
    return model.RouteFailure(MAIN, key, value, replace, "foreign-route", "EEXIST")


def test_only_differences_are_returned() -> None:
    """New is created, changed replaced, equal left alone, unwanted deleted: each once."""
    book = delta.RouteBook(MAIN)
    assert book.want(via(1), [A, B]) == [model.RouteBatch(MAIN, via(1), [A, B])]
    assert book.want(via(1), [A, B]) == []
    assert book.want(via(2), [A]) == [model.RouteBatch(MAIN, via(2), [A], replace=True)]
    assert book.want(None, [A, B]) == [
        model.RouteBatch(MAIN, None, [A], was=via(2)),
        model.RouteBatch(MAIN, None, [B], was=via(1)),
    ]
    assert book.want(None, [A, B]) == []
    assert book.want(via(1), []) == []


def test_what_was_there_is_replaced_not_created() -> None:
    """A route found at start is ours: the first want of another value replaces it."""
    book = delta.RouteBook(MAIN)
    assert book.observe({A: via(1)}) == []
    assert book.want(via(1), [A]) == []
    assert book.want(via(2), [A, B]) == [
        model.RouteBatch(MAIN, via(2), [A], replace=True),
        model.RouteBatch(MAIN, via(2), [B]),
    ]


def test_a_foreign_route_is_tried_again_and_never_replaced() -> None:
    """EEXIST: each retry creates exclusively; an audit meanwhile does not try at once."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    assert book.failed(failure(A, via(1))) is False
    book.watch()
    assert book.observe({}) == []
    assert book.retry() == [model.RouteBatch(MAIN, via(1), [A])]
    assert book.failed(failure(A, via(1))) is True, "known: logged quietly"
    assert book.want(via(2), [A]) == [model.RouteBatch(MAIN, via(2), [A])]
    assert book.retry() == []


def test_a_replacement_that_failed_leaves_the_older_route_known() -> None:
    """The kernel still has the old one: it is deleted when unwanted, replaced when wanted anew."""
    for value, expected in (
        (None, model.RouteBatch(MAIN, None, [A])),
        (via(3), model.RouteBatch(MAIN, via(3), [A], replace=True)),
    ):
        book = delta.RouteBook(MAIN)
        book.want(via(1), [A])
        book.want(via(2), [A])
        book.failed(failure(A, via(2), replace=True))
        assert book.want(value, [A]) == [expected]


def test_a_deletion_that_failed_is_tried_again_or_replaced() -> None:
    """The route is still there, whatever is wanted next."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A, B])
    book.want(None, [A, B])
    book.failed(failure(A, None))
    book.failed(failure(B, None))
    assert book.want(via(2), [B]) == [model.RouteBatch(MAIN, via(2), [B], replace=True)]
    assert book.retry() == [model.RouteBatch(MAIN, None, [A])]


def test_a_late_refusal_of_an_older_wish_changes_nothing() -> None:
    """The writer's answer to the first of two writes comes after the second was queued."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    book.want(via(2), [A])
    assert book.failed(failure(A, via(1))) is True
    assert book.retry() == []
    assert book.actual(A) == via(2)


def test_a_reading_older_than_a_change_does_not_undo_it() -> None:
    """What was wanted, dropped or written between watch and observe stays as the books have it."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    book.watch()
    book.want(via(2), [B])
    book.want(None, [A])
    assert book.observe({A: via(1)}) == []
    assert (book.actual(A), book.actual(B)) == (None, via(2))


def test_drift_is_repaired() -> None:
    """Missing is created, another value replaced; with a reading as the only news."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A, B])
    assert sorted(book.observe({A: via(9), B: None}), key=lambda batch: batch.replace) == [
        model.RouteBatch(MAIN, via(1), [B]),
        model.RouteBatch(MAIN, via(1), [A], replace=True),
    ]


def test_a_refused_prefix_that_turns_out_to_be_ours_is_replaced() -> None:
    """EEXIST from a route of our own that the books had lost: the next reading cures it."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    book.failed(failure(A, via(1)))
    assert book.observe({A: via(2)}) == [model.RouteBatch(MAIN, via(1), [A], replace=True)]


def test_events_put_routes_back_once() -> None:
    """Deleted is created, changed replaced; what is not wanted goes after the sweep."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    assert book.lost([A, B], present=False) == [model.RouteBatch(MAIN, via(1), [A])]
    assert book.lost([A, B], present=True) == [model.RouteBatch(MAIN, via(1), [A], replace=True)]
    assert book.sweep() == [model.RouteBatch(MAIN, None, [B])]
    assert book.lost([B], present=True) == [model.RouteBatch(MAIN, None, [B])]


def test_nothing_unwanted_goes_before_the_sweep() -> None:
    """Adopted routes stay until all is known, then go, and so does what appears later."""
    book = delta.RouteBook(MAIN)
    assert book.observe({A: via(1), B: via(1)}) == []
    book.want(via(1), [B])
    assert book.sweep() == [model.RouteBatch(MAIN, None, [A], was=via(1))]
    assert book.sweep() == []
    assert book.observe({A: via(1)}) == [model.RouteBatch(MAIN, None, [A], was=via(1))]


def test_an_object_that_goes_costs_nothing_per_route() -> None:
    """Its routes are absent at once, need no deletion, and are made anew through another."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A, B])
    book.gone(via(1))
    assert book.want(None, [A]) == []
    assert book.want(via(2), [B]) == [model.RouteBatch(MAIN, via(2), [B])]
    assert not book.uses(via(1))


def test_use_counts_what_is_there_and_what_should_be() -> None:
    """Of a refused route too, since it is tried again."""
    book = delta.RouteBook(MAIN)
    assert not book.uses(via(1))
    book.want(via(1), [A])
    assert book.uses(via(1))
    book.failed(failure(A, via(1)))
    assert book.uses(via(1))
    book.want(via(2), [A])
    assert not book.uses(via(1))


def test_an_object_that_went_is_not_written_to_while_it_is_still_wanted() -> None:
    """Somebody took it: its routes read as strange, and wait for another object."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    book.watch()
    book.gone(via(1))
    for _ in range(2):
        assert book.observe({A: model.Device(0)}) == []
        assert book.stranded() == [A]
    assert book.want(via(2), [A]) == [model.RouteBatch(MAIN, via(2), [A], replace=True)]


def test_what_a_refusal_left_is_read_as_news() -> None:
    """Whatever the kernel has there, be it a route that leads nowhere we know: it is replaced."""
    for found in (model.Device(0), via(1), via(9)):
        book = delta.RouteBook(MAIN)
        book.want(via(1), [A])
        book.want(via(2), [A])
        book.failed(failure(A, via(2), replace=True))
        believed = book.watch()
        assert believed[A] != found
        assert book.observe({A: found}) == [model.RouteBatch(MAIN, via(2), [A], replace=True)]


def test_an_object_that_did_not_go_after_all() -> None:
    """Others use it, or its deletion was refused: its routes are found, and deleted or replaced."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), KEYS[:5])
    book.sweep()
    book.gone(via(1))
    book.want(None, [A])
    book.want(via(2), [B])
    left = dict.fromkeys([A, *KEYS[2:4]], via(1))
    assert book.watch() == {B: via(2)}
    assert book.observe(left) == [model.RouteBatch(MAIN, None, [A], was=via(1))]
    assert book.want(via(2), KEYS[2:4]) == [model.RouteBatch(MAIN, via(2), KEYS[2:4], replace=True)]
    assert book.want(via(2), KEYS[4:5]) == [model.RouteBatch(MAIN, via(2), KEYS[4:5])], (
        "of this one nothing was found"
    )
    assert book.watch() == dict.fromkeys(KEYS[1:5], via(2))
    assert not book.uses(via(1))


def test_an_object_that_goes_while_the_kernel_is_read() -> None:
    """The reading is older: its routes are absent all the same."""
    book = delta.RouteBook(MAIN)
    book.sweep()
    book.watch()
    book.gone(via(1))
    assert book.observe({A: via(1)}) == []
    assert book.want(via(2), [A]) == [model.RouteBatch(MAIN, via(2), [A])]


def test_a_new_wish_ends_the_waiting_of_an_old_one() -> None:
    """What a reading shows of the route from then on is repaired at once."""
    book = delta.RouteBook(MAIN)
    book.want(via(1), [A])
    book.failed(failure(A, via(1)))
    book.watch()
    assert book.observe({A: None}) == [], "it waits for the next try"
    book.want(via(2), [A])
    book.watch()
    assert book.observe({A: None}) == [model.RouteBatch(MAIN, via(2), [A])]


def test_what_an_earlier_run_left_stays_although_it_is_refused() -> None:
    """A neighbour announces it and it may be no route: until all is known another may want it."""
    book = delta.RouteBook(MAIN)
    book.observe({A: via(1), B: via(1)})
    assert book.want(None, [A]) == []
    assert book.want(via(1), [A]) == []
    assert book.want(None, [A]) == [model.RouteBatch(MAIN, None, [A], was=via(1))]
    assert book.sweep() == [model.RouteBatch(MAIN, None, [B], was=via(1))]
