"""The agent as its user has it: logged in once, told of orders, taken to them by a click."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator

import pytest
from notification.tests.conftest import Deployed, event, rows
from notifier.tests.conftest import Gateway
from testing import patient
from testing.desktop import Desktop
from testing.process import until


@pytest.fixture
def login(desktop: Desktop, gateway: Gateway, deployed: Deployed) -> Iterator[None]:
    """The admin's, on an empty screen, with nothing missed."""
    told = f"{deployed.settings['admin_email']}\n{deployed.settings['admin_password']}\n"
    done = desktop.agent("login", "--ca", gateway.ca, gateway.url, told=told)
    assert done.returncode == 0, done.stderr
    desktop.clear()
    yield
    desktop.clear()


@pytest.mark.usefixtures("login")
def test_a_click_opens_the_order(desktop: Desktop, gateway: Gateway, deployed: Deployed) -> None:
    with desktop.running():
        order_id = deployed.place(customer_name="Łucja <b>& Syn")
        until(lambda: desktop.shown() == 1)
        desktop.click()
        until(desktop.opened)
        assert desktop.opened() == [f"{gateway.url}/panel/#/orders/{order_id}"]
        until(lambda: desktop.shown() == 0)
        deployed.change(order_id, "confirmed")
        until(lambda: desktop.shown() == 1)
        desktop.close_all()
    assert desktop.history() == [
        (f"Zamówienie nr {order_id} potwierdzone", "Łucja &lt;b&gt;&amp; Syn, 299,99 zł"),
        (f"Nowe zamówienie nr {order_id}", "Łucja &lt;b&gt;&amp; Syn, 299,99 zł"),
    ]


@pytest.mark.usefixtures("login")
def test_what_was_missed_is_told_once(desktop: Desktop, deployed: Deployed) -> None:
    with desktop.running():
        pass
    assert desktop.shown() == 0
    deployed.hook(event(4001, "confirmed"))
    deployed.hook(event(4002, "shipped"))
    with desktop.running():
        until(lambda: desktop.shown() == 2)
    desktop.close_all()
    assert [title for title, _ in desktop.history()] == [
        "Zamówienie nr 4002 wysłane",
        "Zamówienie nr 4001 potwierdzone",
    ]
    with desktop.running():
        deployed.hook(event(4003, "delivered"))
        until(lambda: desktop.shown() == 1)
    desktop.close_all()
    assert desktop.history()[0][0] == "Zamówienie nr 4003 doręczone"
    assert len(desktop.history()) == 3


@pytest.mark.usefixtures("login")
def test_many_at_once_are_one(desktop: Desktop, gateway: Gateway, deployed: Deployed) -> None:
    with desktop.running():
        pass
    for n in range(40):
        deployed.hook(event(4100 + n, "confirmed"))
    last = rows(deployed.settings, "SELECT max(id) FROM notifications_log")[0][0]
    with desktop.running():
        until(lambda: json.loads(desktop.account.read_text())["last_id"] == last)
        until(lambda: desktop.shown() >= 1)
        assert desktop.shown() < 10
        desktop.click()
        until(desktop.opened)
    desktop.close_all()
    titles = [title for title, _ in desktop.history()]
    assert any(title.startswith("Zmiany zamówień: ") for title in titles)
    assert all(each.startswith(f"{gateway.url}/panel/#/orders") for each in desktop.opened())


@pytest.mark.usefixtures("login")
def test_it_comes_back_after_an_outage(desktop: Desktop, gateway: Gateway, deployed: Deployed) -> None:
    with desktop.running():
        gateway.stop()
        try:
            deployed.hook(event(4201, "shipped"))
            until(lambda: "not connected" in desktop.log())
        finally:
            gateway.start()
        until(lambda: desktop.shown() == 1, within=60)
    desktop.close_all()
    assert [title for title, _ in desktop.history()] == ["Zamówienie nr 4201 wysłane"]


@pytest.mark.usefixtures("login")
def test_an_ended_session_is_said_and_not_tried_again(
    desktop: Desktop, gateway: Gateway, deployed: Deployed
) -> None:
    with desktop.running() as agent:
        token = json.loads(desktop.account.read_text())["refresh_token"]
        url = f"{deployed.auth.url}/api/auth"
        access = (
            patient.post(f"{url}/refresh", json={"refresh_token": token}).raise_for_status().json()["token"]
        )
        headers = {"Authorization": f"Bearer {access}"}
        patient.post(f"{url}/logout", headers=headers).raise_for_status()
        until(lambda: desktop.shown() == 1)
        assert agent.wait() == 2
    desktop.close_all()
    said = f"the session has ended; run: hostwright-notifier login --ca {gateway.ca} {gateway.url}"
    assert desktop.history()[0] == ("Powiadomienia o zamówieniach są wyłączone", said)
    assert f"error: {said}\n" in desktop.log()


@pytest.mark.usefixtures("login")
def test_the_token_is_the_users_alone_and_changes(desktop: Desktop) -> None:
    assert stat.S_IMODE(desktop.account.stat().st_mode) == 0o600
    assert stat.S_IMODE(desktop.account.parent.stat().st_mode) == 0o700
    before = json.loads(desktop.account.read_text())
    assert sorted(before) == ["ca", "email", "last_id", "refresh_token", "url"]
    with desktop.running():
        second = desktop.agent("run")
        assert (second.returncode, second.stderr) == (
            2,
            "error: the agent is running already; stop it first\n",
        )
    assert json.loads(desktop.account.read_text())["refresh_token"] != before["refresh_token"]


@pytest.mark.usefixtures("login")
def test_logout(desktop: Desktop, deployed: Deployed) -> None:
    assert desktop.agent("logout").returncode == 0
    assert not desktop.account.exists()
    done = desktop.agent("run")
    assert (done.returncode, done.stderr) == (
        2,
        "error: nobody is logged in; run: hostwright-notifier login URL\n",
    )


def test_logins_that_are_refused(desktop: Desktop, gateway: Gateway, deployed: Deployed) -> None:
    email, password = deployed.settings["admin_email"], deployed.settings["admin_password"]
    good = f"{email}\n{password}\n"
    customer = {"email": "notifier-customer@example.com", "password": "zielony-rower7"}
    patient.post(f"{deployed.auth.url}/auth/register", json=customer).raise_for_status()
    trusting = ("--ca", gateway.ca, gateway.url)
    for arguments, told, status, why in (
        (trusting, f"{email}\nwrong-horse-9\n", 2, "Invalid email or password"),
        (trusting, "\n".join(customer.values()) + "\n", 2, "is neither employee nor admin"),
        ((gateway.url,), good, 1, "CERTIFICATE_VERIFY_FAILED"),
        (("--ca", desktop.program, gateway.url), good, 2, "is not a file of certificates"),
        (("http://192.0.2.1",), good, 2, "would show the password to the network; use https"),
        (("shop.example",), good, 2, "is no address"),
    ):
        done = desktop.agent("login", *arguments, told=told)
        assert (done.returncode, why in done.stderr) == (status, True), (done.stderr, why)
        assert done.stderr.startswith("error: ")
        assert str(password) not in done.stderr
        assert not desktop.account.exists()


def test_the_unit(desktop: Desktop) -> None:
    done = desktop.agent("install", "--language", "en")
    unit = desktop.directory / "config/systemd/user/hostwright-notifier.service"
    assert f"wrote {unit}" in done.stdout
    assert f"ExecStart={desktop.program} run --language en\n" in unit.read_text()
    checked = desktop.run("systemd-analyze", "--user", "verify", unit)
    assert (checked.returncode, checked.stderr) == (0, "")
