"""Run by test_depagination.py, with derapi|joinder_generated BASE_URL TOKEN: walks the list of sites to its end."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    package, base, token = sys.argv[1:]
    list_sites = importlib.import_module(f"{package}.api.sites.list_sites")
    client = importlib.import_module(package).AuthenticatedClient(base_url=base, token=token)
    ids, page = [], list_sites.sync(client=client, page_size=50)
    while True:
        ids += [site.id for site in page.sites]
        if not isinstance(page.next_page_token, str):
            break
        page = list_sites.sync(client=client, page_size=50, page_token=page.next_page_token)
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
