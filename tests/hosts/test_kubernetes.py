"""The application on its cluster: available, as its manifests say, confined, open to who has to ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import pytest

from hostwright.application import Port
from hostwright.proof.namespace import owner, ready
from hostwright.proof.wanted import FORBIDDEN, OPERATOR, Machine, accounts, module_utils
from hostwright.render.network import MIGRATE, of_ingress

kubectl = module_utils("kubectl")

pytestmark = pytest.mark.app_kubernetes

AREA = "Kubernetes"
LASTING = ("Deployment", "StatefulSet", "DaemonSet")
Detail = Callable[[object], None]
Found = dict[str, Any]


def namespace(machine: Machine) -> list[str]:
    """The case of what there is one of, on the server that is asked."""
    return [machine.namespace] if machine.application else []


def running(machine: Machine) -> list[str]:
    return list(machine.instances)


def of(items: list[Found], part: str, *kinds: str) -> list[Found]:
    """Those of a part, which must be there."""
    found = [each for each in items if owner(each) == part and each.get("kind", "Pod") in (kinds or ("Pod",))]
    assert found, f"there is no {' or '.join(kinds) or 'Pod'} of {part}"
    return found


def pods(deployed: Found, part: str) -> list[Found]:
    """The instances of a part that serve."""
    found = [pod for pod in of(deployed["pods"], part) if ready(pod)]
    assert found, f"no pod of {part} is ready"
    return found


# --- What runs ---


@pytest.mark.each(cases=running)
def test_runs(deployed: Found, case: str, detail: Detail) -> None:
    """{case} is available, every instance of it"""
    found = of(deployed["objects"], case, *LASTING, kubectl.SCALER)
    detail(f"{sum(owner(pod) == case for pod in deployed['pods'])} pods")
    unwell = kubectl.states(found)
    assert unwell == {}, "\n".join(f"{name}: {state}" for name, state in unwell.items())


@pytest.mark.each(cases=lambda machine: machine.absent)
def test_deployed(machine: Machine, case: str) -> None:
    """{case} is deployed"""
    assert machine.declared
    # The operator chose a mirror without it: a row of its own, "not deployed", neither held nor failed.
    pytest.skip(f"the mirror does not hold its image, {machine.declared.components[case].file.image}")


@pytest.mark.each(cases=lambda machine: machine.jobs)
def test_job_has_run(deployed: Found, case: str, detail: Detail) -> None:
    """{case} has run to its end"""
    found = of(deployed["objects"], case, "Job")
    detail(", ".join(each["metadata"]["name"] for each in found))
    unwell = kubectl.states(found)
    assert unwell == {}, "\n".join(f"{name}: {state}" for name, state in unwell.items())


@pytest.mark.each(cases=lambda machine: [*machine.instances, *machine.jobs])
def test_image(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case} runs the image that was asked for, by its digest"""
    asked = machine.images(case.removesuffix(MIGRATE))
    detail(", ".join(asked))
    for each in of(deployed["objects"], case, *LASTING, "Job"):
        assert [c["image"] for c in each["spec"]["template"]["spec"]["containers"]] == asked
    if case in machine.jobs:
        return  # its pod may be gone, with the node that it was on
    digests = sorted(each.partition("@")[2] for each in asked)
    for pod in pods(deployed, case):
        assert [c["image"] for c in pod["spec"]["containers"]] == asked
        if all(digests):
            held = sorted(each["imageID"].partition("@")[2] for each in pod["status"]["containerStatuses"])
            assert held == digests, f"{pod['metadata']['name']} runs {held}"


@pytest.mark.each(cases=lambda machine: machine.rolled)
def test_rolls(deployed: Found, case: str) -> None:
    """nobody of {case} of before leaves until somebody new has been ready for a while"""
    (found,) = of(deployed["objects"], case, "Deployment")
    spec = found["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["minReadySeconds"] > 0
    assert "readinessProbe" in spec["template"]["spec"]["containers"][0]


def several(machine: Machine) -> list[str]:
    """Parts that there are several of, where there are several nodes for them."""
    cluster = machine.variables["groups"]["cluster"]
    wide = [part for part in machine.instances if len(machine.places(part) or cluster) > 1]
    return [part for part in wide if machine.scale(part)[0] > 1]


@pytest.mark.each(cases=several)
def test_spread(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case} outlives a node: its instances are on several"""
    found = sorted(pod["spec"]["nodeName"] for pod in pods(deployed, case))
    detail(", ".join(found))
    assert len({*found}) > 1, f"of {len(found)} all are on {found[0]}"
    lacking = sorted({*machine.places(case)} - {*found})
    assert not lacking, f"none is on {', '.join(lacking)}"


def scaled(machine: Machine) -> list[str]:
    """Parts of which there come to be more when they are busy."""
    scales = {part: machine.scale(part) for part in machine.instances}
    return [part for part, (least, most) in scales.items() if most > least]


@pytest.mark.each(cases=scaled)
def test_autoscaler(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """the autoscaler of {case} sees how busy it is"""
    (found,) = of(deployed["objects"], case, "HorizontalPodAutoscaler")
    assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == machine.scale(case)
    conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
    active = conditions.get("ScalingActive", {"status": "Unknown"})
    assert active["status"] == "True", active.get("message", "it has not looked yet")
    figures = [
        each["resource"]["current"].get("averageUtilization")
        for each in found["status"].get("currentMetrics") or []
        if each["type"] == "Resource"
    ]
    detail(f"{figures[0] if figures else 'nothing'} % of what is asked for")
    assert figures, "it has no figure"
    assert None not in figures, "it has no figure"


@pytest.mark.each(cases=lambda machine: machine.keepers)
def test_volume(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """the data of {case} is on a volume of its own, which is bound to it"""
    (claim,) = of(deployed["objects"], case, "PersistentVolumeClaim")
    detail(f"{claim['spec'].get('volumeName', 'none')}, {claim['status']['phase']}")
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["volumeName"] == f"{machine.namespace}-{case}"
    for pod in pods(deployed, case):
        named = [each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["spec"]["volumes"]]
        assert [name for name in named if name] == [claim["metadata"]["name"]]


@pytest.mark.each(cases=lambda machine: [name for name, each in machine.silent.items() if each.seen])
def test_sees(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case} sees of its nodes what it is declared to, to read, and is on each of them"""
    detail(", ".join(machine.silent[case].seen))
    nodes = {pod["spec"]["nodeName"] for pod in pods(deployed, case)}
    assert nodes == {*machine.variables["groups"]["cluster"]}
    for pod in pods(deployed, case):
        mounts = {each["name"]: each for each in pod["spec"]["containers"][0]["volumeMounts"]}
        seen = [
            mounts[each["name"]]
            for each in pod["spec"]["volumes"]
            if each.get("persistentVolumeClaim", {}).get("readOnly")
        ]
        assert sorted(each["mountPath"] for each in seen) == sorted(machine.silent[case].seen.values())
        assert all(each["readOnly"] for each in seen)


def balanced(machine: Machine) -> list[Port]:
    """Public ports that have an address of their own."""
    ports = machine.published if machine.application else []
    return [port for port in ports if port.scope == "public" and not of_ingress(port)]


@pytest.mark.each(cases=balanced)
def test_balancer(machine: Machine, deployed: Found, case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} has an address"""
    assert deployed["objects"]
    addresses = machine.balanced(case)
    detail(", ".join(addresses))
    assert addresses, "no balancer gives its Service one; app_kubernetes_public_nodes would"


@pytest.mark.each(cases=namespace)
def test_manifests(deployed: Found, case: str) -> None:
    """{case} is as its folder of manifests says, ConfigMaps and Secrets among them"""
    others = kubectl.changed("\n".join(deployed["differences"]))
    assert deployed["differences"] == [], f"not as the folder says: {', '.join(others)}"


@pytest.mark.each(cases=namespace)
def test_nothing_else_runs(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """no pod is in {case} that the application does not declare"""
    known = {*machine.instances, *machine.jobs}
    detail(f"{len(deployed['pods'])} pods")
    assert deployed["pods"], "there is no pod at all"
    others = [
        pod["metadata"]["name"]
        for pod in deployed["pods"]
        if owner(pod) not in known or pod["metadata"].get("labels", {}).get(kubectl.INSTANCE) != case
    ]
    assert others == [], f"undeclared: {', '.join(others)}"


# --- What it may do ---


@pytest.mark.each(cases=namespace)
def test_restricted(deployed: Found, case: str) -> None:
    """{case} admits pods alone that keep to the profile restricted"""
    labels = deployed["namespace"]["metadata"]["labels"]
    assert labels.get("pod-security.kubernetes.io/enforce") == "restricted"
    # Of another version it would be another profile.
    assert labels.get("pod-security.kubernetes.io/enforce-version", "latest") == "latest"


def askable(machine: Machine) -> list[str]:
    """Parts whose pods can be asked what they are and hear."""
    return [part for part in machine.instances if part not in machine.silent]


@pytest.mark.place("network")
@pytest.mark.each(cases=askable)
def test_rights(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case} runs as its own user on a read-only root, without capabilities, within its memory"""
    own = machine.uid(case)
    for each in asked(deployed, [case]):
        assert each["uid"] == own, f"{each['pod']} runs as uid {each['uid']}, and not as its own, {own}"
        assert each["read_only"], f"the root of {each['pod']} can be written to"
        assert each["capabilities"] == "0", f"{each['pod']} could have capabilities {each['capabilities']}"
        assert each["no_new_privileges"], f"{each['pod']} could gain rights by setuid programs"
    limits = {
        container.get("resources", {}).get("limits", {}).get("memory")
        for pod in pods(deployed, case)
        for container in pod["spec"]["containers"]
    }
    detail(f"uid {own}, {', '.join(filter(None, limits))}")
    assert None not in limits, "its memory has no limit"


@pytest.mark.each(cases=lambda machine: [part for part in machine.instances if part in machine.silent])
def test_rights_by_its_pods(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case}, whose image has nothing to ask with, is let run only so: as its own user, without rights"""
    own = machine.uid(case)
    detail(f"uid {own}")
    for pod in pods(deployed, case):
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsNonRoot"]) == (own, True)
        for container in pod["spec"]["containers"]:
            rights = container["securityContext"]
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["readOnlyRootFilesystem"] is True
            assert rights["allowPrivilegeEscalation"] is False
            assert "memory" in container["resources"]["limits"], "its memory has no limit"


@pytest.mark.each(cases=running)
def test_secrets(deployed: Found, case: str) -> None:
    """{case} finds its own secrets in files, and neither another's nor a token of the API"""
    for pod in pods(deployed, case):
        volumes = pod["spec"]["volumes"]
        mounted = [each["secret"]["secretName"] for each in volumes if "secret" in each]
        assert [name for name in mounted if not re.fullmatch(f"{case}(-[0-9a-f]{{12}})?", name)] == []
        assert [each["name"] for each in volumes if "projected" in each] == []
        for container in pod["spec"]["containers"]:
            told = [each.get("valueFrom", {}) for each in container.get("env", [])]
            assert [each for each in told if "secretKeyRef" in each] == []
            assert [each for each in container.get("envFrom", []) if "secretRef" in each] == []


@pytest.mark.each(
    cases=lambda machine: [who for who in accounts("") if who != OPERATOR] if machine.application else []
)
def test_denied(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """{case} may do nothing to the application by the API"""
    known = accounts(machine.namespace)

    def may(who: str) -> list[str]:
        reviews = [each for each in deployed["reviews"] if each["spec"]["user"] == known[who]["user"]]
        assert len(reviews) == len(FORBIDDEN), f"{len(reviews)} of {len(FORBIDDEN)} reviews were answered"
        return [_words(each["spec"]["resourceAttributes"]) for each in reviews if each["status"]["allowed"]]

    detail(f"{len(FORBIDDEN)} things were asked for")
    assert len(may(OPERATOR)) == len(FORBIDDEN), "the API lets nobody in, so that a refusal says nothing"
    assert may(case) == [], f"{case} may {', '.join(may(case))}"


def _words(what: dict[str, str]) -> str:
    return f"{what['verb']} {'/'.join(filter(None, (what['resource'], what.get('subresource'))))}"


# --- Who reaches whom ---


def asked(deployed: Found, owners: Collection[str]) -> list[Found]:
    """What was seen from the pods of these, each of which must have been asked."""
    found = [each for each in deployed["inside"] if each["owner"] in owners]
    silent = {*owners} - {each["owner"] for each in found}
    assert not silent, f"no pod is ready of {', '.join(sorted(silent))}"
    failed = [f"{each['pod']} cannot be asked: {each['error']}" for each in found if "error" in each]
    assert failed == [], "\n".join(failed)
    return found


def knocks(deployed: Found, door: Port, owners: Collection[str]) -> list[tuple[Found, Found]]:
    """From which pod of these owners the door was knocked at, and what was answered."""
    return [
        (pod, knock)
        for pod in asked(deployed, owners)
        for knock in pod["knocks"]
        if (knock["owner"], knock["port"]) == (door.owner, door.number)
    ]


def named(machine: Machine) -> list[str]:
    """Parts that others find by their name."""
    owners = {door.owner for door in machine.doors}
    return [part for part in machine.instances if part in owners]


@pytest.mark.place("network")
@pytest.mark.each(cases=named)
def test_name(machine: Machine, deployed: Found, case: str, detail: Detail) -> None:
    """the name {case} leads to its Service"""
    (service,) = [
        each for each in of(deployed["objects"], case, "Service") if each["metadata"]["name"] == case
    ]
    addresses = sorted(service["spec"]["clusterIPs"])
    found = [each for each in deployed["inside"] if each.get("names")]
    detail(f"{', '.join(addresses)}, asked from {len(found)} pods")
    assert found, "no pod could be asked"
    wrong = [f"{each['pod']}: {each['names'][case]}" for each in found if each["names"][case] != addresses]
    assert wrong == [], "; ".join(wrong)


@pytest.mark.place("network")
@pytest.mark.each(cases=lambda machine: [door for door in machine.doors if machine.callers(door)])
def test_answers_in_namespace(machine: Machine, deployed: Found, case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} answers those that have to reach it"""
    found = knocks(deployed, case, machine.callers(case))
    assert found, f"{case.owner} has no Service with this port"
    # What has no Python tells whether somebody accepts, and no more.
    deaf = [(pod, knock) for pod, knock in found if not knock.get("speaks", knock["state"] == "open")]
    said = sorted({knock["detail"] for _, knock in found})
    detail(f"{', '.join(said)}; asked from {', '.join(sorted(machine.callers(case)))}")
    assert deaf == [], "\n".join(
        f"port {case.number} of {case.owner} does not answer {pod['pod']} on {pod['node']}: {knock['detail']}"
        for pod, knock in deaf
    )


@pytest.mark.each(cases=lambda machine: machine.overheard)
def test_answers_who_watches(machine: Machine, deployed: Found, case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} answers, for those that watch"""
    assert deployed["forwarded"]
    answer = machine.heard(case)
    detail(f"{answer['detail']}; asked by port-forward")
    assert answer["state"] == "open", answer["detail"]
    assert answer["speaks"], answer["detail"]


@pytest.mark.place("network")
@pytest.mark.each(cases=lambda machine: machine.doors)
def test_silent_in_namespace(machine: Machine, deployed: Found, case: Port, detail: Detail) -> None:
    """{case.number}/{case.protocol} of {case.owner} is closed to those that have no business with it"""
    callers = machine.callers(case)
    others = {*askable(machine)} - {machine.home(case.owner)} - callers
    found = knocks(deployed, case, others)
    assert found, f"{case.owner} has no Service with this port"
    unseen = sorted({f"{pod['pod']} on {pod['node']}" for pod, knock in found if knock["state"] == "unseen"})
    assert unseen == [], f"nobody could ask there from {', '.join(unseen)}"
    heard = [knock["state"] for _, knock in knocks(deployed, case, callers)]
    heard += [machine.heard(case)["state"]] if case in machine.overheard else []
    if callers or case in machine.overheard:
        assert "open" in heard, "it answers nobody, so that its silence says nothing"
    reached = sorted({f"{pod['owner']} on {pod['node']}" for pod, knock in found if knock["state"] == "open"})
    if reached and not deployed["enforcers"]:
        # Where something enforces policies this is a failure; here the manifests could not do better.
        pytest.xfail(
            f"no network plug-in here is known to enforce policies; it is reached by {', '.join(reached)}"
        )
    detail(f"asked from {', '.join(sorted({pod['owner'] for pod, _ in found}))}")
    assert reached == [], f"it is reached by {', '.join(reached)}"
