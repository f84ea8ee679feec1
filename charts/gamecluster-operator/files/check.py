"""What `helm test` asks: does the operator live, and does the API server serve GameClusters to its account? Exits 1 if not."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path


def get(url, **options):
    with urllib.request.urlopen(url, timeout=10, **options) as answer:
        return answer.read().decode()


def operator_lives():
    return get(os.environ["OPERATOR"] + "/livez").strip()


def clusters_are_served(namespace):
    account = Path(os.environ["ACCOUNT"])
    place = f"namespaces/{namespace}/" if namespace else ""
    host = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    token = (account / "token").read_text().strip()
    request = urllib.request.Request(
        f"{host}/apis/gamecluster.dev/v1alpha1/{place}gameclusters?limit=1",
        headers={"Authorization": f"Bearer {token}"},
    )
    answer = json.loads(get(request, context=ssl.create_default_context(cafile=account / "ca.crt")))
    return f"{answer['kind']} in {namespace or 'all namespaces'}"


def check(what, advice, look, *arguments):
    try:
        print(f"{what}: {look(*arguments)}")
        return True
    except (OSError, ValueError, KeyError) as error:
        print(f"{what}: {error}. {advice}")
        return False


passed = [check("operator", "Look at its pods and their logs", operator_lives)]
for name in os.environ["NAMESPACES"].split(","):
    advice = "404: the schema is not there (crds.install). 401, 403: the account's rights are not (helm upgrade)"
    passed.append(check("API server", advice, clusters_are_served, name))
sys.exit(0 if all(passed) else 1)
