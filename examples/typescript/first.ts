// Makes a virtual home and says what it gave yesterday, with types made of /openapi.json.
// Needs JOINDER, CLIENT_ID and CLIENT_SECRET in the environment.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string | undefined> };
type SolarInterval = components["schemas"]["SolarInterval"];

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

async function token(base: string): Promise<string> {
  const login = btoa(`${needed("CLIENT_ID")}:${needed("CLIENT_SECRET")}`);
  const answer = await fetch(`${base}/oauth2/token`, {
    method: "POST",
    headers: { authorization: `Basic ${login}` },
    body: new URLSearchParams({ grant_type: "client_credentials" }),
  });
  return ((await answer.json()) as { access_token: string }).access_token;
}

function data<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const base = needed("JOINDER");
const api = createClient<paths, "application/json">({ baseUrl: base, headers: { authorization: `Bearer ${await token(base)}` } });

const inverter = data(await api.POST("/virtual/solar-inverters", { body: { name: "On the roof" } }));
data(await api.POST("/virtual/batteries", { body: { siteID: inverter.siteID, nameplateKwh: 10 } }));

const day = 24 * 3600 * 1000;
const start = new Date(Date.now() - 2 * day).toISOString();
const end = new Date(Date.now() - day).toISOString();
const found: SolarInterval[] = [];
let pageToken: string | undefined;
do {
  const page = data(
    await api.GET("/sites/{site_id}/solar-intervals", {
      params: { path: { site_id: inverter.siteID }, query: { start, end, summaryLevel: "hour", pageSize: 20, pageToken } },
    }),
  );
  found.push(...page.intervals);
  pageToken = page.nextPageToken ?? undefined;
} while (pageToken !== undefined);

const kwh = found.reduce((sum, hour) => sum + hour.kwh, 0);
console.log(`site ${inverter.siteID}: ${kwh.toFixed(2)} kWh in ${found.length} hours`);
