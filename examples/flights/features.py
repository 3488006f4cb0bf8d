"""What is known of a flight two hours before its scheduled departure. `falaj apply` makes assets of it.

Nothing counts before it was known: weather by its hour, a departure by its report, an arrival by its landing.
"""

import falaj as fj

airport = fj.Entity("airport", keys={"origin": str})
route = fj.Entity("route", keys={"carrier": str, "origin": str, "dest": str})
plane = fj.Entity("plane", keys={"tailnum": str})

weather = fj.FeatureView(
    "airport_weather",
    entity=airport,
    source=fj.Dataset("weather"),
    time="observed_at",
    ttl="3h",
    # The source has a wind of 1,048 miles an hour in it; its contract warns of it, and here it is left out.
    sql="SELECT origin, time_hour AS observed_at, temp, humid, wind_speed, precip, visib, pressure FROM source "
    "WHERE wind_speed IS NULL OR wind_speed < 200",
    description="the newest observation, if it is not older than three hours",
)
delays = fj.FeatureView(
    "airport_delays",
    entity=airport,
    source=fj.Dataset("departures"),
    time="departed_at",
    created="reported_at",
    windows=[fj.mean("dep_delay", over="3h"), fj.count(over="3h")],
    description="how late the airport runs: departures of the last three hours, as far as they were reported",
)
lateness = fj.FeatureView(
    "route_lateness",
    entity=route,
    source=fj.Dataset("departures"),
    time="landed_at",
    sql="SELECT carrier, origin, dest, landed_at, (arr_delay > 30)::INT AS late FROM source "
    "WHERE arr_delay IS NOT NULL",
    windows=[fj.mean("late", over="28d")],
    description="share of late arrivals of the carrier on the route, over 28 days; an arrival counts once it landed",
)
facts = fj.FeatureView(
    "plane_facts",
    entity=plane,
    source=fj.Dataset("planes"),
    time="listed_at",
    sql="SELECT tailnum, TIMESTAMP '2013-01-01' AS listed_at, year AS built, seats FROM source",
    features=["built", "seats"],
    description="of the planes that are listed, 85 of 100 flights",
)
delay_v1 = fj.FeatureService(
    "delay_v1",
    [
        weather,
        delays["dep_delay_mean_3h"].named("airport_delay_3h"),
        delays["count_3h"].named("airport_departures_3h"),
        lateness["late_mean_28d"].named("route_late_28d"),
        facts,
    ],
    description="all that delay reads beside the schedule",
)
