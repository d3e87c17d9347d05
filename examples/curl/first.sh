#!/bin/sh
# Needs JOINDER, CLIENT_ID and CLIENT_SECRET of a virtual client.
set -eu

member() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

TOKEN=$(curl -sSf -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials "$JOINDER/oauth2/token" | member access_token)

ask() { # method, path, body
  curl -sSf -X "$1" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' "$JOINDER$2" ${3:+-d "$3"}
}

SITE=$(ask POST /virtual/solar-inverters '{"name": "On the roof"}' | member siteID)
ask POST /virtual/batteries "{\"siteID\": \"$SITE\", \"nameplateKwh\": 10}" >/dev/null

echo "site $SITE"
ask GET "/sites/$SITE/solar-intervals?summaryLevel=day&start=2024-06-01T00:00:00%2B02:00&end=2024-06-02T00:00:00%2B02:00"
echo
