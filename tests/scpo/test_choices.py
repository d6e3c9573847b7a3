import pytest

from scpo.choices import check_offload


@pytest.mark.parametrize(("stage", "offload"), [(0, "optimizer"), (0, "weights"), (2, "weights")])
def test_what_is_not_sharded_cannot_be_offloaded(stage, offload):
    with pytest.raises(ValueError, match=rf"To offload {offload}, ZeRO stage . .*stage {stage}"):
        check_offload(stage, offload)


def test_an_unknown_offload_is_refused():
    with pytest.raises(ValueError, match="offload must be none, optimizer or weights"):
        check_offload(3, "disk")


def test_known_offloads_pass():
    for stage, offload in ((0, "none"), (1, "optimizer"), (3, "weights")):
        assert check_offload(stage, offload) is None
