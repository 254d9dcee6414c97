"""The reference device on a board whose image has its driver: its own DMA, in sound order."""


def test_device_reads(board):
    result = board.run(
        "device_frames",
        importer="refdev",
        exporter="udmabuf",
        mode="cached",
        frames=3,
        size=65536,
    )
    assert int(result.info["device_transfers"]) == 3
    assert result.counter("dma_map_sg", phase="attach") == 1
