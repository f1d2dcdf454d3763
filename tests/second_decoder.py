"""A second decoder, written from docs/b17.md: integers in plain Python, pixels in NumPy, slow."""

import numpy as np

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
DIAGONALS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))
EIGHT = DIAGONALS + SIDES
#: The table of a single bit.
BIT = (0, 32768, 65536)


class RangeDecoder:
    """The range decoder of the document."""

    def __init__(self, payload):
        self.bytes = iter(payload)
        self.base, self.size, self.value = 0, 1 << 32, 0
        self._next_word()
        self._next_word()

    def _next_word(self):
        word = next(self.bytes, 0) << 8 | next(self.bytes, 0)
        self.value = (self.value << 16 | word) % (1 << 32)

    def entry(self, rising):
        """Return the number of the interval of a table in which the stream goes on."""
        offset = (self.value - self.base) % (1 << 32)
        number = 0
        while (self.size * rising[number + 1]) >> 16 <= offset:
            number += 1
        lower = (self.size * rising[number]) >> 16
        upper = (self.size * rising[number + 1]) >> 16
        self.base, self.size = (self.base + lower) % (1 << 32), upper - lower
        if self.size <= 1 << 16:
            self.base, self.size = (self.base << 16) % (1 << 32), self.size << 16
            self._next_word()
        return number


def split_tables(cdf):
    """Return the tables of an array `cdf`, each from 0 to 65536."""
    tables, table = [], []
    for number in cdf.tolist():
        table.append(number)
        if number == 65536:
            tables.append(table[1:])
            table = []
    return tables


def decode_static(arrays, payload, height, width):
    """Return the integers [height, width, channels] of a payload of version 1.

    Args:
        arrays: those of the model's file.
        payload: bytes.
        height, width: of the latents.
    """
    tables, offsets = split_tables(arrays["coding/cdf"]), arrays["coding/cdf_offset"].tolist()
    decoder = RangeDecoder(payload)

    def integer(table, offset):
        entry, last = decoder.entry(table), len(table) - 2
        if entry < last:
            return entry + offset
        zeros = 0
        while not decoder.entry(BIT):
            zeros += 1
        k = 1
        for _ in range(zeros):
            k = 2 * k + decoder.entry(BIT)
        return offset - k if decoder.entry(BIT) else offset + last - 1 + k

    places = range(height * width)
    integers = [[integer(*one) for one in zip(tables, offsets, strict=True)] for _ in places]
    return np.array(integers).reshape(height, width, -1)


def fourier_basis(k):
    i = np.arange(k)
    columns = [np.full((k, k), 1 / k)]
    for u, v in np.ndindex(k, k):
        if (0, 0) != (u, v) <= (-u % k, -v % k):
            a = 2 * np.pi * (u * i[:, None] + v * i) / k
            columns += [np.sqrt(2) / k * np.cos(a), np.sqrt(2) / k * np.sin(a)]
    return np.stack([column.ravel() for column in columns], 1)


def unpack(numbers, scale, filters):
    bits = np.unpackbits(numbers, bitorder="little")[: 25 * filters * scale.shape[1] * 10]
    values = (bits.reshape(-1, 10) << np.arange(10)).sum(1).reshape(25, filters, -1) - 511
    return values * scale.astype(np.float64)[:, None]


def transposed(x, coefficients, k, outputs, factor):
    kernel = (fourier_basis(k) @ coefficients.reshape(k * k, -1)).reshape(k, k, outputs, -1)
    height, width = factor * x.shape[0], factor * x.shape[1]
    whole = np.zeros((height + k, width + k, outputs))
    for i, j in np.ndindex(k, k):
        whole[i : i + height : factor, j : j + width : factor] += x @ kernel[i, j].T
    return whole[1 : 1 + height, 1 : 1 + width]


def igdn(x, bias, beta, gamma):
    x = x + bias
    b = np.maximum(beta, np.sqrt(1e-6 + 2.0**-36)) ** 2 - 2.0**-36
    g = np.maximum(gamma, 2.0**-18) ** 2 - 2.0**-36
    return x * (b + np.abs(x) @ g)


def synthesize(arrays, integers, height, width):
    """Return the pixels, uint8 [height, width, 3], of integers [h, w, channels]."""
    filters = len(arrays["synthesis/igdn_0/bias"])
    x = integers + arrays["coding/quantization_offset"].astype(np.float64)
    for layer in "01":
        conv = f"synthesis/conv_{layer}/kernel"
        coefficients = unpack(arrays[f"{conv}:numbers"], arrays[f"{conv}:scale"], filters)
        x = transposed(x, coefficients, 5, filters, 2)
        names = (f"synthesis/igdn_{layer}/{name}" for name in ("bias", "beta", "gamma"))
        x = igdn(x, *(arrays[name].astype(np.float64) for name in names))
    kernel, bias = (
        arrays[f"synthesis/conv_2/{name}"].astype(np.float64) for name in ("kernel", "bias")
    )
    x = 256 * (transposed(x, kernel, 9, 3, 4) + bias) + 128
    return np.rint(np.clip(x, 0, 255)).astype(np.uint8)[:height, :width]


class SecondDecoder:
    """Decodes a payload of version 2 with the arrays adaptive/NAME of a model's file."""

    def __init__(self, arrays, payload, height, width):
        self.a = {name: array.tolist() for name, array in arrays.items()}
        self.height, self.width = height, width
        self.range_decoder = RangeDecoder(payload)
        self.tables = split_tables(arrays["cdf"])
        #: All indexes, in the order in which they were used.
        self.indexes = []

    def beyond(self):
        """Return a value that its table does not have."""
        number = 0
        for _ in range(2):
            number = 256 * number + self.range_decoder.entry(range(0, 65537, 256))
        return -(number // 2) - 1 if number % 2 else number // 2

    def inside(self, y, x, neighbours):
        places = [(y + dy, x + dx) for dy, dx in neighbours]
        return [(v, u) for v, u in places if 0 <= v < self.height and 0 <= u < self.width]

    def decode(self):
        """Return the integer latents [height, width, channels]."""
        a, height, width = self.a, self.height, self.width
        channels = len(a["order"])
        latents = np.zeros((height, width, channels), np.int64)
        every = [(y, x) for y in range(height) for x in range(width)]
        clipped = [dict.fromkeys(every, 0) for _ in range(channels)]
        # Magnitude of each group at each place.
        groups = []
        start = 0
        for group, size in enumerate(a["group_sizes"]):
            current = dict.fromkeys(every, 0)
            sum_expected = sum(a["expected"][:group])
            earlier = {}
            for place in every if group else ():
                total = sum(one[place] for one in groups)
                earlier[place] = min(4095, 64 * total // sum_expected)
            for pass_, (top, left) in enumerate(PASSES):
                near = ((), DIAGONALS, SIDES, SIDES)[pass_]
                places = [(y, x) for y, x in every if y % 2 == top and x % 2 == left]
                chosen, entries = {}, {}
                for c in range(start, start + size):
                    for place in places:
                        chosen[c, *place] = self.choice(
                            group, pass_, c, place, near, clipped[c], current, earlier, groups
                        )
                for where, (index, _) in chosen.items():
                    entries[where] = self.range_decoder.entry(self.tables[index])
                for (c, y, x), (index, predicted) in chosen.items():
                    residual = entries[c, y, x] + a["cdf_offset"][index]
                    if entries[c, y, x] == len(self.tables[index]) - 2:
                        residual = self.beyond()
                    value = residual + predicted
                    latents[y, x, a["order"][c]] = value
                    clipped[c][y, x] = max(-1023, min(1023, value))
                    current[y, x] += a["magnitude_weights"][c] * abs(clipped[c][y, x])
            groups.append(current)
            start += size
        return latents

    def choice(self, group, pass_, c, place, near, clipped, current, earlier, groups):
        a = self.a
        features = {}
        if group:
            features[0] = earlier[place]
            around = self.inside(*place, EIGHT)
            features[1] = sum(earlier[other] for other in around) // max(1, len(around))
            features[2] = min(4095, 64 * groups[-1][place] // a["expected"][group - 1])
        mean = 0
        if pass_:
            around = self.inside(*place, near)
            part = 64 // len(around)
            total = sum(current[other] for other in around)
            features[3] = min(4095, total * part // a["expected"][group])
            features[4] = min(4095, sum(abs(clipped[other]) for other in around) * part)
            mean = sum(clipped[other] for other in around) * part
        total = a["base"][pass_][c]
        for feature, magnitude in features.items():
            total += a["weights"][pass_][c][feature] * a["logarithms"][magnitude]
        index = max(0, min(len(self.tables) - 1, total >> 16))
        self.indexes.append(index)
        predicted = (a["prediction"][pass_][c] * mean + 16384) >> 15
        return index, predicted
