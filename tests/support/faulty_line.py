"""A line that loses, repeats and changes bytes, in both directions."""

from spiccato.host import Line

__all__ = ["FaultyLine"]


class FaultyLine(Line):
    """Passes everything on to ``line``, a share ``rate`` of all bytes damaged, as ``rng`` has it.

    Attributes
    ----------
    faults : int
        Damaged bytes so far.
    """

    def __init__(self, line, rng, rate):
        self.name, self.byte_seconds = line.name, line.byte_seconds
        self.line, self.rng, self.rate, self.faults = line, rng, rate, 0

    def damage(self, data):
        """``data`` as it arrives."""
        result = bytearray()
        for byte in data:
            if self.rng.random() >= self.rate:
                result.append(byte)
                continue
            self.faults += 1
            match self.rng.integers(4):
                case 0:
                    pass
                case 1:
                    result += bytes((byte, byte))
                case 2:
                    result.append(byte ^ 1 << int(self.rng.integers(8)))
                case 3:
                    result.append(int(self.rng.integers(256)))
        return bytes(result)

    async def write(self, data):
        await self.line.write(self.damage(data))

    async def read(self, timeout):
        return self.damage(await self.line.read(timeout))

    def now(self):
        return self.line.now()

    def close(self):
        self.line.close()
