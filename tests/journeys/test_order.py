"""An order's way, as each of those sees it whom it concerns: customer, employee, desktop, mailbox."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from testing.browser import Visitor
from testing.desktop import Desktop
from testing.process import until

from tests.contracts.warehouse.conftest import Mails
from tests.environment import Account, Gateway, heard
from tests.journeys.conftest import Album, Visit

PASSWORD = "zielony-rower7"
# Who has ordered before, what for, and how far that is: a board is never empty.
EARLIER = (
    ("Jan Kowalski", 89.0, "website", ()),
    ("Helena Wójcik", 249.0, "zrodlo_jeden", ("confirmed",)),
    ("Marek Zieliński", 1299.0, "manual", ("confirmed",)),
    ("Ewa Kamińska", 420.5, "website", ("confirmed", "shipped")),
    ("Piotr Lewandowski", 59.9, "zrodlo_dwa", ("confirmed", "shipped", "delivered")),
    ("Anna Dąbrowska", 318.0, "website", ("confirmed", "shipped", "delivered")),
    ("Tomasz Wiśniewski", 75.0, "zrodlo_jeden", ("cancelled",)),
)


def log_in(who: Visitor, path: str, account: Account) -> None:
    who.go(path)
    who.page.locator("input[name=email]").fill(account.email)
    who.page.locator("input[name=password]").fill(account.password)
    who.page.locator("form .primary").click()
    expect(who.page.locator("input[name=password]")).to_have_count(0)


def card(page: Page, order: int, status: str) -> Locator:
    return page.locator(f"[data-status={status}] [data-order='{order}']")


def buy(page: Page, email: str, name: str, album: Album) -> int:
    """Somebody new fills a basket, registers and orders: the order's number."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Things for the home, made to be kept")
    album.take("shop", page)
    page.get_by_role("button", name="Add to the basket: Stoneware mug").click()
    page.get_by_role("button", name="Add to the basket: Wool blanket").click()
    page.get_by_role("link", name="Basket, 2 things").click()
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Your name").fill(name)
    album.take("basket", page)
    page.get_by_role("button", name="Place the order").click()
    page.wait_for_url(re.compile(r"#/orders/\d+$"))
    return int(page.url.rpartition("/")[2])


def test_from_the_basket_to_the_parcel(
    visit: Visit,
    gateway: Gateway,
    admin: Account,
    employee: Account,
    desktop: Desktop,
    ca: Path,
    mails: Mails,
    album: Album,
) -> None:
    for name, amount, source, statuses in EARLIER:
        order = {
            "customer_name": name,
            "customer_email": admin.email,
            "source": source,
            "total_amount": amount,
        }
        number = admin.ask("POST", "/api/orders", json=order).raise_for_status().json()["id"]
        for status in statuses:
            path = f"/api/orders/{number}/status"
            admin.ask("PATCH", path, json={"status": status}).raise_for_status()
    staff, customer = visit(), visit()
    log_in(staff, "/panel/", employee)
    board = staff.page
    expect(board.locator("main .liveness")).to_have_text("Live")
    told = f"{employee.email}\n{employee.password}\n"
    done = desktop.agent("login", "--ca", ca, gateway.url, told=told)
    assert done.returncode == 0, done.stderr

    with desktop.running():
        customer.go("/")
        email = f"zofia.{secrets.token_hex(3)}@example.com"
        order = buy(customer.page, email, "Zofia Lis", album)
        reached = customer.page.locator(".progress [aria-current]")
        expect(reached).to_have_text("New")
        expect(customer.page.get_by_text("Live", exact=True)).to_be_visible()
        album.take("ordered", customer.page)

        # The board moves by itself, and so does the desktop.
        expect(card(board, order, "new")).to_contain_text("Zofia Lis")
        album.take("board", board)
        until(lambda: desktop.shown() == 1)
        album.take("notification", desktop.screenshot().crop((0, 0, 488, 112)))
        desktop.click()
        until(desktop.opened)
        (address,) = desktop.opened()
        assert address == f"{gateway.url}/panel/#/orders/{order}"
        opened = staff.context.new_page()
        opened.goto(address)
        expect(opened.get_by_role("heading", level=1)).to_have_text(f"Order {order}")
        expect(opened.locator("main .liveness")).to_have_text("Live")
        album.take("opened", opened)
        opened.close()

        # By hand, then by keys.
        card(board, order, "new").drag_to(board.locator("[data-status=confirmed] h2"))
        expect(card(board, order, "confirmed")).to_be_visible()
        expect(reached).to_have_text("Confirmed")
        card(board, order, "confirmed").get_by_role("link").focus()
        board.keyboard.press("Shift+ArrowRight")
        expect(card(board, order, "shipped").get_by_role("link")).to_be_focused()
        album.take("shipping", board)
        expect(reached).to_have_text("Shipped")
        album.take("shipped", customer.page)
        until(lambda: desktop.shown() == 2)
        desktop.close_all()
    titles = [title for title, _ in desktop.history()]
    assert sorted(titles[:-1]) == [f"Order no. {order} confirmed", f"Order no. {order} shipped"]
    assert titles[-1] == f"New order no. {order}"
    statuses = [each["new_status"] for each in admin.ask("GET", f"/api/orders/{order}/history").json()]
    assert statuses == ["new", "confirmed", "shipped"]

    for subject in ("received", "shipped"):
        mail = heard(lambda: mails(email, subject), f"a mail: {subject}")[0]  # noqa: B023  (asked at once)
        assert str(order) in mail["subject"] + mail["text"]
    letter = customer.context.new_page()
    letter.set_viewport_size({"width": 700, "height": 760})
    letter.set_content(mail["html"])
    expect(letter.get_by_text("Zofia Lis")).to_be_visible()
    album.take("mail", letter)
