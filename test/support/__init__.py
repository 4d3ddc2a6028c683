"""What the end-to-end tests, the demo and the benchmarks are built from; nothing in here is a test.

Four packages, each of which may use those before it: `bitbucket_standin` plays Bitbucket and uses nothing else of this folder, so
that it can be shipped by itself; `judges` look at what was written or sent; `links` carry requests and spoil them; `scenes` put the
real pipe, a real receiver and the stand-in together.
"""
