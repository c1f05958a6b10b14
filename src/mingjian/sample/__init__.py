"""The generated sector: logs of invented organisations, in the formats that real producers write, with ground truth.

In: a seed, how many organisations, from which day, for how many days. Out: log files, and beside them what was planted
in them and where (``truth.jsonl``) and what the sector is made of (``sector.json``). Never: the clock, chance that is
not made from the seed, a value or a line of anybody's real logs, an address or a name that could belong to somebody.

``chance``      numbers from a seed and a name
``moments``     times as the producers spell them
``templates``   lines with holes: what is the same every time is rendered once
``words``       invented names of people, places, sites and documents
``programs``    software that runs on the hosts
``world``       the sector as values: organisations, hosts, people, addresses
``book``        log files of one day: order, line numbers, mistakes, truth
``writers``     one module per kind of producer
``scene``       one organisation on one day: who writes where
``activity``    what happens every day
``campaigns``   what should not
``generate``    all of it, day by day, in as many processes as wanted

One day of one organisation is a pure function of the seed: it can be made alone, in any order, anywhere.
"""
