import httpx


async def test_an_empty_account_has_no_sites(api: httpx.AsyncClient) -> None:
    answer = await api.get("/sites")
    assert (answer.status_code, answer.json()) == (200, {"sites": [], "errors": {}})
