// Command karpenter is Karpenter with its kwok provider, listening on loopback alone.
//
// The upstream program takes its two ports from flags but always binds every address of the machine.
package main

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	ctrl "sigs.k8s.io/controller-runtime"

	kwok "sigs.k8s.io/karpenter/kwok/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/operator"
)

func onLoopback(address string) string {
	if strings.HasPrefix(address, ":") {
		return "127.0.0.1" + address
	}
	return address
}

func newLoopbackManager(config *rest.Config, options ctrl.Options) (manager.Manager, error) {
	options.Metrics.BindAddress = onLoopback(options.Metrics.BindAddress)
	options.HealthProbeBindAddress = onLoopback(options.HealthProbeBindAddress)
	return manager.New(config, options)
}

// withCapacity gives nodes the capacity of their instance type. The upstream provider writes what was asked of the node
// instead, and Karpenter holds the limits of a node pool against that: a pool would grow past them.
type withCapacity struct {
	client.Client
	capacity map[string]corev1.ResourceList
}

func (c withCapacity) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	if node, ok := object.(*corev1.Node); ok {
		if known, ok := c.capacity[node.Labels[corev1.LabelInstanceTypeStable]]; ok {
			node = node.DeepCopy()
			node.Status.Capacity = known
			object = node
		}
	}
	return c.Client.Create(ctx, object, options...)
}

func newWithCapacity(upstream client.Client, types []*cloudprovider.InstanceType) withCapacity {
	capacity := make(map[string]corev1.ResourceList, len(types))
	for _, each := range types {
		capacity[each.Name] = each.Capacity
	}
	return withCapacity{upstream, capacity}
}

func main() {
	ctrl.NewManager = newLoopbackManager
	ctx, op := operator.NewOperator()

	types, err := kwok.ConstructInstanceTypes(ctx)
	if err != nil {
		// Without instance types it would run and never make a node: better to end, and be reported.
		log.FromContext(ctx).Error(err, "no instance types")
		panic(err)
	}
	bare := kwok.NewCloudProvider(ctx, newWithCapacity(op.GetClient(), types), types)
	provider := overlay.Decorate(bare, op.GetClient(), op.InstanceTypeStore)
	cluster := state.NewCluster(op.Clock, op.GetClient(), provider)
	op.WithControllers(ctx, controllers.NewControllers(
		ctx, op.Manager, op.Clock, op.GetClient(), op.EventRecorder, provider, bare, cluster, op.InstanceTypeStore,
	)...).Start(ctx)
}
