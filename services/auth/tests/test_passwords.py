"""Hashes: argon2id for all that are new, bcrypt for those of old until their owner logs in."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import auth
import httpx2
import yaml
from auth.passwords import Passwords
from auth.tests.conftest import PASSWORD, Api
from pwdlib.hashers.bcrypt import BcryptHasher
from testing.service import Service

OWASP = "$argon2id$v=19$m=19456,t=2,p=1$"
HASHES = "SELECT password_hash, updated_at FROM users WHERE email = 'jan@example.com'"


async def make_old(api: Api, password: str = PASSWORD) -> str:
    """jan, whose password was hashed years ago."""
    old = BcryptHasher(rounds=5).hash(password)
    await api.register("jan@example.com", password)
    await api.rows("UPDATE users SET password_hash = %s WHERE email = 'jan@example.com'", old)
    return old


async def test_new_hashes(api: Api) -> None:
    await api.register("jan@example.com")
    hashes = [found for (found,) in await api.rows("SELECT password_hash FROM users")]
    assert len(hashes) == 2
    assert all(each.startswith(OWASP) for each in hashes), "the first admin's too"


async def test_a_hash_of_bcrypt_is_replaced_at_login(api: Api) -> None:
    old = await make_old(api)
    before = await api.rows(HASHES)
    assert (await api.login("jan@example.com", "wrong-password-1")).status_code == 401
    assert await api.rows(HASHES) == before
    assert before[0][0] == old
    assert (await api.login("jan@example.com")).status_code == 200
    after = await api.rows(HASHES)
    assert after[0][0].startswith(OWASP)
    assert after[0][1] == before[0][1], "the account is as it was"
    assert (await api.login("jan@example.com")).status_code == 200
    assert await api.rows(HASHES) == after, "once is enough"
    assert (await api.login("jan@example.com", "wrong-password-1")).status_code == 401


async def test_many_logins_replace_it_at_once(api: Api) -> None:
    await make_old(api)
    answers = await asyncio.gather(*(api.login("jan@example.com") for _ in range(5)))
    assert [each.status_code for each in answers] == [200] * 5
    assert (await api.rows(HASHES))[0][0].startswith(OWASP)
    assert (await api.login("jan@example.com")).status_code == 200


async def test_longest_password_of_bcrypt(api: Api) -> None:
    longest = "ż1" * 24
    await make_old(api, longest)
    assert (await api.login("jan@example.com", longest + "x")).status_code == 401
    assert (await api.login("jan@example.com", longest)).status_code == 200
    assert (await api.login("jan@example.com", longest)).status_code == 200


async def test_what_is_no_hash_lets_nobody_in(api: Api) -> None:
    await api.register("jan@example.com")
    for rubbish in ("", "!", PASSWORD, "$argon2id$v=19$", "$2b$05$short"):
        await api.rows("UPDATE users SET password_hash = %s WHERE email = 'jan@example.com'", rubbish)
        assert (await api.login("jan@example.com")).status_code == 401, rubbish
        await api.rows("DELETE FROM login_attempts")


async def test_hashing_does_not_stop_the_others() -> None:
    passwords = Passwords()
    try:
        tasks = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(4)]
        await asyncio.sleep(0)  # each has begun; one that hashed here would be done
        assert not any(each.done() for each in tasks)
        hashes = await asyncio.gather(*tasks)
        assert len(set(hashes)) == 4
        assert (await passwords.verify(PASSWORD, hashes[0]))[0]
    finally:
        passwords.close()


def test_memory_under_a_storm_of_logins(own_settings: dict[str, object]) -> None:
    """All ask at once, and the service stays within what its container may use."""
    limit = yaml.safe_load((Path(auth.__file__).parent / "service.yml").read_text())["memory"]
    body = {"email": "nobody@example.com", "password": PASSWORD}
    unlimited = {"login_attempts": 10**6, "client_attempts": 10**6, "answer_timeout": 100}
    with (
        Service.running("auth", own_settings | unlimited) as service,
        httpx2.Client(timeout=100) as http,
        ThreadPoolExecutor(32) as threads,
    ):
        url = f"{service.url}/auth/login"
        storm = [threads.submit(http.post, url, json=body) for _ in range(128)]
        used = [sum(memory(each) for each in processes(service.pid))]
        while not all(each.done() for each in storm):
            time.sleep(0.2)
            used.append(sum(memory(each) for each in processes(service.pid)))
    assert {each.result().status_code for each in storm} == {401}
    assert max(used) < limit


def processes(pid: int) -> list[int]:
    """A process and its descendants."""
    children = " ".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [pid, *(each for child in children for each in processes(int(child)))]


def memory(pid: int) -> float:
    """MiB in use; of what processes share, each one's part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith("Pss:")) / 1024
